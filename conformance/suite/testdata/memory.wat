;; It breaks bounds/memory: every 1,000 calls it takes another page.
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
  (global $calls (mut i32) (i32.const 0))
  (func (export "muster_job_order") (param $batch i32) (result i32)
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (if (i32.eqz (i32.rem_u (global.get $calls) (i32.const 1000)))
      (then (drop (memory.grow (i32.const 1)))))
    (i32.const 0))
)
