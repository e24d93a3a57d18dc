;; It ends as a panic of Go does: pieces of text to stderr, then unreachable. An instance
;; that goes on after that runs on a broken runtime.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "muster_abi_v1"))
  ;; New pages at the end of memory, 0 if there are none.
  (func (export "muster_reserve") (param $bytes i32) (result i32)
    (local $page i32)
    (local.set $page (memory.grow (i32.shr_u (i32.add (local.get $bytes) (i32.const 65535)) (i32.const 16))))
    (if (result i32) (i32.eq (local.get $page) (i32.const -1))
      (then (i32.const 0))
      (else (i32.shl (local.get $page) (i32.const 16)))))
  (data (i32.const 1024) "panic: boom: it broke\n\ngoroutine 1 [running]:\nmain.decide(...)\n\t/policy/main.go:17\nexit status 2\n")
  ;; One piece: an iovec at 0, the number of bytes written at 32.
  (func $say (param $at i32) (param $len i32)
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (local.get $len))
    (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 32))))
  (func $decide (param $batch i32) (result i32)
    (call $say (i32.const 1024) (i32.const 7))  ;; "panic: "
    (call $say (i32.const 1031) (i32.const 14)) ;; "boom: it broke"
    (call $say (i32.const 1045) (i32.const 2))
    (call $say (i32.const 1047) (i32.const 23)) ;; "goroutine 1 [running]:"
    (call $say (i32.const 1070) (i32.const 17))
    (call $say (i32.const 1087) (i32.const 20))
    (call $say (i32.const 1107) (i32.const 14)) ;; "exit status 2"
    (unreachable))
  (func (export "muster_job_order") (param i32) (result i32) (call $decide (local.get 0)))
  (func (export "muster_queue_shares") (param i32) (result i32) (call $decide (local.get 0)))
  (func (export "muster_victim_costs") (param i32) (result i32) (call $decide (local.get 0)))
)
