;; Honest and slow: it computes for about 0.2 s in each call, and then answers what the
;; host wrote, which is fifo. It has to be given the fuel: 8 units for each of 100,000,000
;; turns. muster_test_spin(n) does n turns.
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
  (func $spin (export "muster_test_spin") (param $n i64) (result i64)
    (local $x i64)
    (loop $turn
      (local.set $x (i64.add (i64.mul (local.get $x) (i64.const 6364136223846793005)) (local.get $n)))
      (local.set $n (i64.sub (local.get $n) (i64.const 1)))
      (br_if $turn (i64.gt_s (local.get $n) (i64.const 0))))
    (local.get $x))
  (func $decide (param $batch i32) (result i32)
    (drop (call $spin (i64.const 100000000)))
    (i32.const 0))
  (func (export "muster_job_order") (param i32) (result i32) (call $decide (local.get 0)))
  (func (export "muster_queue_shares") (param i32) (result i32) (call $decide (local.get 0)))
  (func (export "muster_victim_costs") (param i32) (result i32) (call $decide (local.get 0)))
)
