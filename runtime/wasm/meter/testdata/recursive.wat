;; Functions that call themselves, and leave by every way that there is: all of them
;; take room on the call stack, and have to give it back.
(module
  (type $pair (func (param i32) (result i32 i64)))
  (type $one (func (param i32) (result i32)))
  (table 2 funcref)
  (elem (i32.const 0) $even $odd)

  ;; factorial, by falling off the end
  (func $fac (export "fac") (param $n i64) (result i64)
    (if (result i64) (i64.eqz (local.get $n))
      (then (i64.const 1))
      (else (i64.mul (local.get $n) (call $fac (i64.sub (local.get $n) (i64.const 1)))))))

  ;; fibonacci, by return
  (func $fib (export "fib") (param $n i64) (result i64)
    (if (i64.lt_s (local.get $n) (i64.const 2)) (then (return (local.get $n))))
    (return (i64.add
      (call $fib (i64.sub (local.get $n) (i64.const 1)))
      (call $fib (i64.sub (local.get $n) (i64.const 2))))))

  ;; even and odd, through a table, by branches to the function itself
  (func $even (export "even") (type $one)
    (br_if 0 (i32.const 1) (i32.eqz (local.get 0)))
    (drop)
    (loop
      (br 1 (call_indirect (type $one) (i32.sub (local.get 0) (i32.const 1)) (i32.const 1))))
    (unreachable))
  (func $odd (type $one)
    (block
      (br_if 0 (local.get 0))
      (br_table 1 1 (i32.const 0) (i32.const 0)))
    (call_indirect (type $one) (i32.sub (local.get 0) (i32.const 1)) (i32.const 0)))

  ;; two results: the depth reached, and its square
  (func $deep (export "deep") (type $pair)
    (local $d i32)
    (if (i32.eqz (local.get 0)) (then (return (i32.const 0) (i64.const 0))))
    (call $deep (i32.sub (local.get 0) (i32.const 1)))
    (drop)
    (local.set $d (i32.add (i32.const 1)))
    (br 0 (local.get $d) (i64.mul (i64.extend_i32_u (local.get $d)) (i64.extend_i32_u (local.get $d)))))

  ;; no result, and no end
  (func $down (export "down") (call $down))

  ;; wide: many locals take more room
  (func $wide (export "wide") (param i32)
    (local i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64)
    (if (local.get 0) (then (call $wide (i32.sub (local.get 0) (i32.const 1)))))))
