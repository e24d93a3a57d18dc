;; It says that all went well, and has overwritten the whole batch, its head and its inputs
;; included, with ones: it "sorts" by 4 billion key columns, entitles queues to less than
;; nothing, pays for victims, and vetoes by 255.
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
  (func $decide (param $batch i32) (result i32)
    (memory.fill (local.get $batch) (i32.const 255) (i32.load offset=12 (local.get $batch)))
    (i32.const 0))
  (func (export "muster_job_order") (param i32) (result i32) (call $decide (local.get 0)))
  (func (export "muster_queue_shares") (param i32) (result i32) (call $decide (local.get 0)))
  (func (export "muster_victim_costs") (param i32) (result i32) (call $decide (local.get 0)))
)
