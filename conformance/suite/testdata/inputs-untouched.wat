;; It breaks bounds/inputs-untouched: it writes into the header.
(module
  (memory (export "memory") 1)
  (func (export "muster_abi_v1"))
  ;; New pages at the end of memory, 0 if there are none.
  (func (export "muster_reserve") (param $bytes i32) (result i32)
    (local $page i32)
    (local.set $page (memory.grow (i32.shr_u (i32.add (local.get $bytes) (i32.const 65535)) (i32.const 16))))
    (if (result i32) (i32.eq (local.get $page) (i32.const -1))
      (then (i32.const 0))
      (else (i32.shl (local.get $page) (i32.const 16)))))
  (func (export "muster_job_order") (param $batch i32) (result i32)
    (i32.store offset=36 (local.get $batch) (i32.const 7))
    (i32.const 0))
)
