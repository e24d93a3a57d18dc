;; It breaks bounds/fuel-linear: N rows take N*N/4 turns, up to 20,000 rows.
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
    (local $left i32)
    (local.set $left (i32.load offset=20 (local.get $batch)))
    (if (i32.gt_u (local.get $left) (i32.const 20000)) (then (return (i32.const 0))))
    (local.set $left (i32.shr_u (i32.mul (local.get $left) (local.get $left)) (i32.const 2)))
    (block $done
      (loop $more
        (br_if $done (i32.eqz (local.get $left)))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br $more)))
    (i32.const 0))
)
