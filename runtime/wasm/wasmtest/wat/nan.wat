;; It answers a float key that is not a number; as fairness and as victim costs, which
;; have no floats, a negative number.
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
  ;; The address of a column of the batch.
  (func $find (param $batch i32) (param $id i32) (result i32)
    (local $desc i32) (local $left i32)
    (local.set $desc (i32.add (local.get $batch) (i32.load offset=28 (local.get $batch))))
    (local.set $left (i32.add (i32.load16_u offset=24 (local.get $batch)) (i32.load16_u offset=26 (local.get $batch))))
    (loop $next
      (if (i32.eqz (local.get $left)) (then (unreachable)))
      (if (i32.eq (i32.load (local.get $desc)) (local.get $id))
        (then (return (i32.add (local.get $batch) (i32.load offset=8 (local.get $desc))))))
      (local.set $desc (i32.add (local.get $desc) (i32.load offset=32 (local.get $batch))))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br $next))
    (unreachable))
  (func (export "muster_job_order") (param $batch i32) (result i32)
    (i32.store (call $find (local.get $batch) (i32.const 0x186)) (i32.const 1)) ;; job.key_format: key 0 is a float
    (f64.store (call $find (local.get $batch) (i32.const 0x181)) (f64.const nan)) ;; job.key0
    (i32.const 0))
  (func (export "muster_queue_shares") (param $batch i32) (result i32)
    (i64.store (call $find (local.get $batch) (i32.const 0x281)) (i64.const -1)) ;; queue.entitled
    (i32.const 0))
  (func (export "muster_victim_costs") (param $batch i32) (result i32)
    (i64.store (call $find (local.get $batch) (i32.const 0x381)) (i64.const -1)) ;; victim.cost
    (i32.const 0))
)
