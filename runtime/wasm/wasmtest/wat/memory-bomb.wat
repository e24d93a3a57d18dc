;; It takes all the memory that it can get, writes to each new page, and then traps.
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
    (local $page i32) (local $last i32)
    (block $full
      (loop $more
        (local.set $page (memory.grow (i32.const 16)))
        (br_if $full (i32.eq (local.get $page) (i32.const -1)))
        (local.set $last (i32.add (local.get $page) (i32.const 16)))
        (loop $touch
          (i64.store (i32.shl (local.get $page) (i32.const 16)) (i64.const -1))
          (local.set $page (i32.add (local.get $page) (i32.const 1)))
          (br_if $touch (i32.lt_u (local.get $page) (local.get $last))))
        (br $more)))
    (unreachable))
  (func (export "muster_job_order") (param i32) (result i32) (call $decide (local.get 0)))
  (func (export "muster_queue_shares") (param i32) (result i32) (call $decide (local.get 0)))
  (func (export "muster_victim_costs") (param i32) (result i32) (call $decide (local.get 0)))
)
