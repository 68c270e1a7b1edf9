;; Polyphase FIR over s16 samples in f32 arithmetic; its twin, sample for sample, is fir-js.ts.
;;
;; `run` copies a stream's history before the new samples (as f32) into a scratch area, filters, and writes the
;; last samples back as the next history. Outputs are taken phase by phase: outputs `upBy` apart use the same row
;; with the input `downBy` further on, so four of them share each load of coefficients.
;;
;; Each output is summed in eight lanes, lane k taking taps k, k+8, k+16...; then lanes k and k+4 are added, and
;; ((0+1)+(2+3)) of what is left. The order is part of the contract with the twin.
(module
  (memory (export "memory") 1)

  (func (export "run")
    (param $history i32) (param $historySamples i32)
    (param $input i32) (param $inputSamples i32)
    (param $scratch i32)
    (param $rows i32) (param $taps i32)
    (param $upBy i32) (param $downBy i32)
    (param $position i32)          ;; of the first output, in units of 1/upBy input samples
    (param $output i32) (param $outputSamples i32)
    (local $i i32) (local $dst i32) (local $tapsBytes i32) (local $stepBytes i32) (local $strideBytes i32)
    (local $phase i32) (local $at i32) (local $n i32) (local $x i32) (local $out i32)
    (local $row i32) (local $rowStart i32) (local $rowEnd i32)
    (local $x0 i32) (local $x1 i32) (local $x2 i32) (local $x3 i32)
    (local $h v128) (local $g v128)
    (local $a0 v128) (local $a1 v128) (local $a2 v128) (local $a3 v128)
    (local $b0 v128) (local $b1 v128) (local $b2 v128) (local $b3 v128)

    (memory.copy (local.get $scratch) (local.get $history) (i32.shl (local.get $historySamples) (i32.const 2)))

    ;; s16 to f32, four at a time; up to three words past the end are written, the scratch area has room for them.
    (local.set $dst (i32.add (local.get $scratch) (i32.shl (local.get $historySamples) (i32.const 2))))
    (block $converted
      (loop $convert
        (br_if $converted (i32.ge_s (local.get $i) (local.get $inputSamples)))
        (v128.store (local.get $dst)
          (f32x4.convert_i32x4_s (i32x4.extend_low_i16x8_s
            (v128.load64_zero (i32.add (local.get $input) (i32.shl (local.get $i) (i32.const 1)))))))
        (local.set $dst (i32.add (local.get $dst) (i32.const 16)))
        (local.set $i (i32.add (local.get $i) (i32.const 4)))
        (br $convert)))

    (local.set $tapsBytes (i32.shl (local.get $taps) (i32.const 2)))
    (local.set $stepBytes (i32.shl (local.get $downBy) (i32.const 2)))
    (local.set $strideBytes (i32.shl (local.get $upBy) (i32.const 1)))

    (block $phasesDone
      (loop $phases
        ;; The outputs $phase, $phase + upBy, ...; all of them lie `$at mod upBy` behind an input sample.
        (br_if $phasesDone (i32.ge_s (local.get $phase) (local.get $upBy)))
        (br_if $phasesDone (i32.ge_s (local.get $phase) (local.get $outputSamples)))
        (local.set $at (i32.add (local.get $position) (i32.mul (local.get $phase) (local.get $downBy))))
        (local.set $x (i32.add (local.get $scratch) (i32.shl (i32.div_u (local.get $at) (local.get $upBy)) (i32.const 2))))
        (local.set $rowStart (i32.add (local.get $rows)
          (i32.mul (i32.rem_u (local.get $at) (local.get $upBy)) (local.get $tapsBytes))))
        (local.set $rowEnd (i32.add (local.get $rowStart) (local.get $tapsBytes)))
        (local.set $out (i32.add (local.get $output) (i32.shl (local.get $phase) (i32.const 1))))
        (local.set $n (local.get $phase))

        (block $foursDone
          (loop $fours
            (br_if $foursDone (i32.ge_s
              (i32.add (local.get $n) (i32.mul (local.get $upBy) (i32.const 3))) (local.get $outputSamples)))
            (local.set $x0 (local.get $x))
            (local.set $x1 (i32.add (local.get $x0) (local.get $stepBytes)))
            (local.set $x2 (i32.add (local.get $x1) (local.get $stepBytes)))
            (local.set $x3 (i32.add (local.get $x2) (local.get $stepBytes)))
            (local.set $x (i32.add (local.get $x3) (local.get $stepBytes)))
            (local.set $a0 (v128.const f32x4 0 0 0 0)) (local.set $b0 (v128.const f32x4 0 0 0 0))
            (local.set $a1 (v128.const f32x4 0 0 0 0)) (local.set $b1 (v128.const f32x4 0 0 0 0))
            (local.set $a2 (v128.const f32x4 0 0 0 0)) (local.set $b2 (v128.const f32x4 0 0 0 0))
            (local.set $a3 (v128.const f32x4 0 0 0 0)) (local.set $b3 (v128.const f32x4 0 0 0 0))
            (local.set $row (local.get $rowStart))
            (loop $taps4
              (local.set $h (v128.load (local.get $row)))
              (local.set $g (v128.load offset=16 (local.get $row)))
              (local.set $a0 (f32x4.add (local.get $a0) (f32x4.mul (v128.load (local.get $x0)) (local.get $h))))
              (local.set $b0 (f32x4.add (local.get $b0) (f32x4.mul (v128.load offset=16 (local.get $x0)) (local.get $g))))
              (local.set $a1 (f32x4.add (local.get $a1) (f32x4.mul (v128.load (local.get $x1)) (local.get $h))))
              (local.set $b1 (f32x4.add (local.get $b1) (f32x4.mul (v128.load offset=16 (local.get $x1)) (local.get $g))))
              (local.set $a2 (f32x4.add (local.get $a2) (f32x4.mul (v128.load (local.get $x2)) (local.get $h))))
              (local.set $b2 (f32x4.add (local.get $b2) (f32x4.mul (v128.load offset=16 (local.get $x2)) (local.get $g))))
              (local.set $a3 (f32x4.add (local.get $a3) (f32x4.mul (v128.load (local.get $x3)) (local.get $h))))
              (local.set $b3 (f32x4.add (local.get $b3) (f32x4.mul (v128.load offset=16 (local.get $x3)) (local.get $g))))
              (local.set $x0 (i32.add (local.get $x0) (i32.const 32)))
              (local.set $x1 (i32.add (local.get $x1) (i32.const 32)))
              (local.set $x2 (i32.add (local.get $x2) (i32.const 32)))
              (local.set $x3 (i32.add (local.get $x3) (i32.const 32)))
              (br_if $taps4 (i32.lt_u (local.tee $row (i32.add (local.get $row) (i32.const 32))) (local.get $rowEnd))))
            (local.set $a0 (f32x4.add (local.get $a0) (local.get $b0)))
            (local.set $a1 (f32x4.add (local.get $a1) (local.get $b1)))
            (local.set $a2 (f32x4.add (local.get $a2) (local.get $b2)))
            (local.set $a3 (f32x4.add (local.get $a3) (local.get $b3)))
            ;; lanes (0+1, 2+3) of two outputs beside each other, then their sums: four outputs in one vector
            (local.set $h (f32x4.add
              (i8x16.shuffle 0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27 (local.get $a0) (local.get $a1))
              (i8x16.shuffle 4 5 6 7 12 13 14 15 20 21 22 23 28 29 30 31 (local.get $a0) (local.get $a1))))
            (local.set $g (f32x4.add
              (i8x16.shuffle 0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27 (local.get $a2) (local.get $a3))
              (i8x16.shuffle 4 5 6 7 12 13 14 15 20 21 22 23 28 29 30 31 (local.get $a2) (local.get $a3))))
            (local.set $h (i32x4.trunc_sat_f32x4_s (f32x4.nearest (f32x4.min (v128.const f32x4 32767 32767 32767 32767)
              (f32x4.max (v128.const f32x4 -32768 -32768 -32768 -32768) (f32x4.add
                (i8x16.shuffle 0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27 (local.get $h) (local.get $g))
                (i8x16.shuffle 4 5 6 7 12 13 14 15 20 21 22 23 28 29 30 31 (local.get $h) (local.get $g))))))))
            (i32.store16 (local.get $out) (i32x4.extract_lane 0 (local.get $h)))
            (local.set $out (i32.add (local.get $out) (local.get $strideBytes)))
            (i32.store16 (local.get $out) (i32x4.extract_lane 1 (local.get $h)))
            (local.set $out (i32.add (local.get $out) (local.get $strideBytes)))
            (i32.store16 (local.get $out) (i32x4.extract_lane 2 (local.get $h)))
            (local.set $out (i32.add (local.get $out) (local.get $strideBytes)))
            (i32.store16 (local.get $out) (i32x4.extract_lane 3 (local.get $h)))
            (local.set $out (i32.add (local.get $out) (local.get $strideBytes)))
            (local.set $n (i32.add (local.get $n) (i32.shl (local.get $upBy) (i32.const 2))))
            (br $fours)))

        (block $onesDone
          (loop $ones
            (br_if $onesDone (i32.ge_s (local.get $n) (local.get $outputSamples)))
            (local.set $x0 (local.get $x))
            (local.set $x (i32.add (local.get $x) (local.get $stepBytes)))
            (local.set $a0 (v128.const f32x4 0 0 0 0)) (local.set $b0 (v128.const f32x4 0 0 0 0))
            (local.set $row (local.get $rowStart))
            (loop $taps1
              (local.set $a0 (f32x4.add (local.get $a0) (f32x4.mul (v128.load (local.get $x0)) (v128.load (local.get $row)))))
              (local.set $b0 (f32x4.add (local.get $b0)
                (f32x4.mul (v128.load offset=16 (local.get $x0)) (v128.load offset=16 (local.get $row)))))
              (local.set $x0 (i32.add (local.get $x0) (i32.const 32)))
              (br_if $taps1 (i32.lt_u (local.tee $row (i32.add (local.get $row) (i32.const 32))) (local.get $rowEnd))))
            (local.set $a0 (f32x4.add (local.get $a0) (local.get $b0)))
            (i32.store16 (local.get $out) (i32.trunc_sat_f32_s (f32.nearest (f32.min (f32.const 32767)
              (f32.max (f32.const -32768) (f32.add
                (f32.add (f32x4.extract_lane 0 (local.get $a0)) (f32x4.extract_lane 1 (local.get $a0)))
                (f32.add (f32x4.extract_lane 2 (local.get $a0)) (f32x4.extract_lane 3 (local.get $a0)))))))))
            (local.set $out (i32.add (local.get $out) (local.get $strideBytes)))
            (local.set $n (i32.add (local.get $n) (local.get $upBy)))
            (br $ones)))

        (local.set $phase (i32.add (local.get $phase) (i32.const 1)))
        (br $phases)))

    (memory.copy (local.get $history)
      (i32.add (local.get $scratch) (i32.shl (local.get $inputSamples) (i32.const 2)))
      (i32.shl (local.get $historySamples) (i32.const 2)))))
