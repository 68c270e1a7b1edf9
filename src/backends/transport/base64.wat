;; Base64 sixteen characters at a time. Both functions leave the rest of an input, less than one step, to base64.ts.
;; Source and target must not overlap; up to four bytes past the end of either are touched.
(module
  (memory (export "memory") 3)

  ;; `bytes` is a multiple of 12: of every 12 bytes come 16 characters.
  (func (export "encode") (param $from i32) (param $bytes i32) (param $to i32)
    (local $end i32) (local $v v128)
    (local.set $end (i32.add (local.get $from) (local.get $bytes)))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $from) (local.get $end)))
        ;; Three bytes a lane, the first one highest; the fourth is not looked at.
        (local.set $v (v128.load (local.get $from)))
        (local.set $v (i8x16.shuffle 2 1 0 0 5 4 3 3 8 7 6 6 11 10 9 9 (local.get $v) (local.get $v)))
        ;; Four times six bits a lane, the first one lowest.
        (local.set $v (v128.or
          (v128.or
            (v128.and (i32x4.shr_u (local.get $v) (i32.const 18)) (v128.const i32x4 0x3f 0x3f 0x3f 0x3f))
            (v128.and (i32x4.shr_u (local.get $v) (i32.const 4)) (v128.const i32x4 0x3f00 0x3f00 0x3f00 0x3f00)))
          (v128.or
            (v128.and (i32x4.shl (local.get $v) (i32.const 10)) (v128.const i32x4 0x3f0000 0x3f0000 0x3f0000 0x3f0000))
            (v128.and (i32x4.shl (local.get $v) (i32.const 24)) (v128.const i32x4 0x3f000000 0x3f000000 0x3f000000 0x3f000000)))))
        ;; Each value plus the distance to its character: 13 stands for A-Z, 0 for a-z, 1-10 for the digits, 11 and 12 for + and /.
        (v128.store (local.get $to)
          (i8x16.add (local.get $v)
            (i8x16.swizzle (v128.const i8x16 71 -4 -4 -4 -4 -4 -4 -4 -4 -4 -4 -19 -16 65 0 0)
              (v128.or
                (i8x16.sub_sat_u (local.get $v) (v128.const i8x16 51 51 51 51 51 51 51 51 51 51 51 51 51 51 51 51))
                (v128.and
                  (i8x16.lt_u (local.get $v) (v128.const i8x16 26 26 26 26 26 26 26 26 26 26 26 26 26 26 26 26))
                  (v128.const i8x16 13 13 13 13 13 13 13 13 13 13 13 13 13 13 13 13))))))
        (local.set $from (i32.add (local.get $from) (i32.const 12)))
        (local.set $to (i32.add (local.get $to) (i32.const 16)))
        (br $next))))

  ;; `chars` is a multiple of 16: of every 16 characters come 12 bytes. Returns 1 when all were of the alphabet, else 0.
  (func (export "decode") (param $from i32) (param $chars i32) (param $to i32) (result i32)
    (local $end i32) (local $c v128) (local $high v128) (local $wrong v128)
    (local.set $end (i32.add (local.get $from) (local.get $chars)))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $from) (local.get $end)))
        (local.set $c (v128.load (local.get $from)))
        (local.set $high (i8x16.shr_u (local.get $c) (i32.const 4)))
        ;; A character is wrong when the classes of its two halves have a bit in common.
        (local.set $wrong (v128.or (local.get $wrong) (v128.and
          (i8x16.swizzle
            (v128.const i8x16 0x15 0x11 0x11 0x11 0x11 0x11 0x11 0x11 0x11 0x11 0x13 0x1a 0x1b 0x1b 0x1b 0x1a)
            (v128.and (local.get $c) (v128.const i8x16 15 15 15 15 15 15 15 15 15 15 15 15 15 15 15 15)))
          (i8x16.swizzle
            (v128.const i8x16 0x10 0x10 0x01 0x02 0x04 0x08 0x04 0x08 0x10 0x10 0x10 0x10 0x10 0x10 0x10 0x10)
            (local.get $high)))))
        ;; The distance to its value hangs on the upper half; only of / and +, which share theirs, on the whole.
        (local.set $c (i8x16.add (local.get $c)
          (i8x16.swizzle (v128.const i8x16 0 16 19 4 -65 -65 -71 -71 0 0 0 0 0 0 0 0)
            (i8x16.add (local.get $high)
              (i8x16.eq (local.get $c) (v128.const i8x16 47 47 47 47 47 47 47 47 47 47 47 47 47 47 47 47))))))
        ;; Two times six bits a half lane, then 24 bits a lane, the first character highest.
        (local.set $c (v128.or
          (i16x8.shl (v128.and (local.get $c) (v128.const i16x8 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff)) (i32.const 6))
          (i16x8.shr_u (local.get $c) (i32.const 8))))
        (local.set $c (i32x4.dot_i16x8_s (local.get $c) (v128.const i16x8 4096 1 4096 1 4096 1 4096 1)))
        (v128.store (local.get $to)
          (i8x16.shuffle 2 1 0 6 5 4 10 9 8 14 13 12 3 7 11 15 (local.get $c) (local.get $c)))
        (local.set $from (i32.add (local.get $from) (i32.const 16)))
        (local.set $to (i32.add (local.get $to) (i32.const 12)))
        (br $next)))
    (i32.eqz (v128.any_true (local.get $wrong)))))
