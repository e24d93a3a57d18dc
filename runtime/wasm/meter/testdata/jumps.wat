;; What the compiler of standard Go makes of a function: one loop around a jump table.
(module
  ;; counts down from n, and adds up what it goes through: places 0 to 4
  (func (export "sum") (param $n i32) (result i32)
    (local $p i32) (local $sum i32)
    (block $out
      (loop $turn
        (block $four (block $three (block $two (block $one (block $zero
          (br_table $zero $one $two $three $four (local.get $p)))
          ;; 0: ahead to 2, over 1
          (local.set $p (i32.const 2)) (br $turn))
          ;; 1: back from 3
          (local.set $sum (i32.add (local.get $sum) (local.get $n)))
          (local.set $n (i32.sub (local.get $n) (i32.const 1)))
          (if (i32.eqz (local.get $n)) (then (local.set $p (i32.const 99)) (br $turn)))) ;; 99: the last place
          ;; 2
          (if (i32.and (local.get $n) (i32.const 1)) (then (local.set $p (i32.const 3)) (br $turn)))
          (local.set $sum (i32.add (local.get $sum) (i32.const 1000))))
          ;; 3: back to 1, from inside of as many blocks as there were around place 1
          (if (i32.and (local.get $n) (i32.const 2)) (then (block (block (local.set $p (i32.const 1)) (br $turn)))))
          (local.set $p (i32.const 1)) (br $turn))
        ;; 4
        (br $out)))
    (local.get $sum))

  ;; a number that the table has for the loop itself, and one set into another local
  (func (export "odd") (param $n i32) (result i32)
    (local $p i32) (local $q i32)
    (loop $turn
      (block $one (block $zero
        (br_table $zero $one $turn (local.get $p)))
        (local.set $q (i32.const 1)) ;; not the local of the table
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (if (i32.lt_s (local.get $n) (i32.const 10)) (then (local.set $q (i32.const 1)) (br $turn))) ;; ahead, if it were
        (local.set $p (i32.const 1))
        (br $turn))
      (return (i32.add (local.get $n) (local.get $q))))
    (i32.const -1)))
