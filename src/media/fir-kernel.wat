;; Polyphase FIR over s16 samples with coefficients of two times 16 bits (fixed-rows.ts); its twin, sample for sample, is
;; fir-js.ts.
;;
;; `run` expects new samples behind the place of the history in the scratch area, copies a stream's history before them,
;; filters, and writes the last samples back as the next history. Outputs are taken phase by phase: outputs `upBy` apart
;; use the same row with the input `downBy` further on, so four of them share each load of coefficients.
;;
;; A row is `taps` low parts and then `peakTaps` high parts, which belong to the taps from `peakAt` on; both are multiples
;; of 16. Each sum has
;; four lanes, lane k taking taps 2k and 2k+1 of every 8. The lanes of the low sum are shifted right by `lowShift`, those of
;; the high one by 2, so that they count in 2^-13 and all of them together cannot run over; then they are added, rounded
;; half up and cut to 16 bits.
(module
  (memory (export "memory") 1)

  (func (export "run")
    (param $history i32) (param $historySamples i32)
    (param $scratch i32) (param $inputSamples i32)
    (param $rows i32) (param $taps i32) (param $peakAt i32) (param $peakTaps i32) (param $lowShift i32)
    (param $upBy i32) (param $downBy i32)
    (param $position i32)          ;; of the first output, in units of 1/upBy input samples
    (param $output i32) (param $outputSamples i32)
    (local $tapsBytes i32) (local $rowBytes i32) (local $peakBytes i32) (local $stepBytes i32) (local $strideBytes i32)
    (local $phase i32) (local $at i32) (local $n i32) (local $x i32) (local $out i32)
    (local $row i32) (local $rowStart i32) (local $highStart i32) (local $rowEnd i32)
    (local $x0 i32) (local $x1 i32) (local $x2 i32) (local $x3 i32)
    (local $h v128) (local $g v128)
    (local $a0 v128) (local $a1 v128) (local $a2 v128) (local $a3 v128)
    (local $b0 v128) (local $b1 v128) (local $b2 v128) (local $b3 v128)

    (memory.copy (local.get $scratch) (local.get $history) (i32.shl (local.get $historySamples) (i32.const 1)))

    (local.set $tapsBytes (i32.shl (local.get $taps) (i32.const 1)))
    (local.set $rowBytes (i32.shl (i32.add (local.get $taps) (local.get $peakTaps)) (i32.const 1)))
    (local.set $peakBytes (i32.shl (local.get $peakAt) (i32.const 1)))
    (local.set $stepBytes (i32.shl (local.get $downBy) (i32.const 1)))
    (local.set $strideBytes (i32.shl (local.get $upBy) (i32.const 1)))

    (block $phasesDone
      (loop $phases
        ;; The outputs $phase, $phase + upBy, ...; all of them lie `$at mod upBy` behind an input sample.
        (br_if $phasesDone (i32.ge_s (local.get $phase) (local.get $upBy)))
        (br_if $phasesDone (i32.ge_s (local.get $phase) (local.get $outputSamples)))
        (local.set $at (i32.add (local.get $position) (i32.mul (local.get $phase) (local.get $downBy))))
        (local.set $x (i32.add (local.get $scratch) (i32.shl (i32.div_u (local.get $at) (local.get $upBy)) (i32.const 1))))
        (local.set $rowStart (i32.add (local.get $rows)
          (i32.mul (i32.rem_u (local.get $at) (local.get $upBy)) (local.get $rowBytes))))
        (local.set $highStart (i32.add (local.get $rowStart) (local.get $tapsBytes)))
        (local.set $rowEnd (i32.add (local.get $rowStart) (local.get $rowBytes)))
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
            (local.set $a0 (v128.const i32x4 0 0 0 0)) (local.set $a1 (v128.const i32x4 0 0 0 0))
            (local.set $a2 (v128.const i32x4 0 0 0 0)) (local.set $a3 (v128.const i32x4 0 0 0 0))
            (local.set $row (local.get $rowStart))
            (loop $taps4
              (local.set $h (v128.load (local.get $row)))
              (local.set $g (v128.load offset=16 (local.get $row)))
              (local.set $a0 (i32x4.add (local.get $a0) (i32x4.dot_i16x8_s (v128.load (local.get $x0)) (local.get $h))))
              (local.set $a1 (i32x4.add (local.get $a1) (i32x4.dot_i16x8_s (v128.load (local.get $x1)) (local.get $h))))
              (local.set $a2 (i32x4.add (local.get $a2) (i32x4.dot_i16x8_s (v128.load (local.get $x2)) (local.get $h))))
              (local.set $a3 (i32x4.add (local.get $a3) (i32x4.dot_i16x8_s (v128.load (local.get $x3)) (local.get $h))))
              (local.set $a0 (i32x4.add (local.get $a0) (i32x4.dot_i16x8_s (v128.load offset=16 (local.get $x0)) (local.get $g))))
              (local.set $a1 (i32x4.add (local.get $a1) (i32x4.dot_i16x8_s (v128.load offset=16 (local.get $x1)) (local.get $g))))
              (local.set $a2 (i32x4.add (local.get $a2) (i32x4.dot_i16x8_s (v128.load offset=16 (local.get $x2)) (local.get $g))))
              (local.set $a3 (i32x4.add (local.get $a3) (i32x4.dot_i16x8_s (v128.load offset=16 (local.get $x3)) (local.get $g))))
              (local.set $x0 (i32.add (local.get $x0) (i32.const 32)))
              (local.set $x1 (i32.add (local.get $x1) (i32.const 32)))
              (local.set $x2 (i32.add (local.get $x2) (i32.const 32)))
              (local.set $x3 (i32.add (local.get $x3) (i32.const 32)))
              (br_if $taps4 (i32.lt_u (local.tee $row (i32.add (local.get $row) (i32.const 32))) (local.get $highStart))))
            (local.set $x0 (i32.add (local.get $x) (local.get $peakBytes)))
            (local.set $x1 (i32.add (local.get $x0) (local.get $stepBytes)))
            (local.set $x2 (i32.add (local.get $x1) (local.get $stepBytes)))
            (local.set $x3 (i32.add (local.get $x2) (local.get $stepBytes)))
            (local.set $b0 (v128.const i32x4 0 0 0 0)) (local.set $b1 (v128.const i32x4 0 0 0 0))
            (local.set $b2 (v128.const i32x4 0 0 0 0)) (local.set $b3 (v128.const i32x4 0 0 0 0))
            (loop $high4
              (local.set $h (v128.load (local.get $row)))
              (local.set $g (v128.load offset=16 (local.get $row)))
              (local.set $b0 (i32x4.add (local.get $b0) (i32x4.dot_i16x8_s (v128.load (local.get $x0)) (local.get $h))))
              (local.set $b1 (i32x4.add (local.get $b1) (i32x4.dot_i16x8_s (v128.load (local.get $x1)) (local.get $h))))
              (local.set $b2 (i32x4.add (local.get $b2) (i32x4.dot_i16x8_s (v128.load (local.get $x2)) (local.get $h))))
              (local.set $b3 (i32x4.add (local.get $b3) (i32x4.dot_i16x8_s (v128.load (local.get $x3)) (local.get $h))))
              (local.set $b0 (i32x4.add (local.get $b0) (i32x4.dot_i16x8_s (v128.load offset=16 (local.get $x0)) (local.get $g))))
              (local.set $b1 (i32x4.add (local.get $b1) (i32x4.dot_i16x8_s (v128.load offset=16 (local.get $x1)) (local.get $g))))
              (local.set $b2 (i32x4.add (local.get $b2) (i32x4.dot_i16x8_s (v128.load offset=16 (local.get $x2)) (local.get $g))))
              (local.set $b3 (i32x4.add (local.get $b3) (i32x4.dot_i16x8_s (v128.load offset=16 (local.get $x3)) (local.get $g))))
              (local.set $x0 (i32.add (local.get $x0) (i32.const 32)))
              (local.set $x1 (i32.add (local.get $x1) (i32.const 32)))
              (local.set $x2 (i32.add (local.get $x2) (i32.const 32)))
              (local.set $x3 (i32.add (local.get $x3) (i32.const 32)))
              (br_if $high4 (i32.lt_u (local.tee $row (i32.add (local.get $row) (i32.const 32))) (local.get $rowEnd))))
            (local.set $a0 (i32x4.add
              (i32x4.shr_s (local.get $a0) (local.get $lowShift)) (i32x4.shr_s (local.get $b0) (i32.const 2))))
            (local.set $a1 (i32x4.add
              (i32x4.shr_s (local.get $a1) (local.get $lowShift)) (i32x4.shr_s (local.get $b1) (i32.const 2))))
            (local.set $a2 (i32x4.add
              (i32x4.shr_s (local.get $a2) (local.get $lowShift)) (i32x4.shr_s (local.get $b2) (i32.const 2))))
            (local.set $a3 (i32x4.add
              (i32x4.shr_s (local.get $a3) (local.get $lowShift)) (i32x4.shr_s (local.get $b3) (i32.const 2))))
            (local.set $x (i32.add (local.get $x) (i32.shl (local.get $stepBytes) (i32.const 2))))
            ;; lanes (0+1, 2+3) of two outputs beside each other, then their sums: four outputs in one vector
            (local.set $h (i32x4.add
              (i8x16.shuffle 0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27 (local.get $a0) (local.get $a1))
              (i8x16.shuffle 4 5 6 7 12 13 14 15 20 21 22 23 28 29 30 31 (local.get $a0) (local.get $a1))))
            (local.set $g (i32x4.add
              (i8x16.shuffle 0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27 (local.get $a2) (local.get $a3))
              (i8x16.shuffle 4 5 6 7 12 13 14 15 20 21 22 23 28 29 30 31 (local.get $a2) (local.get $a3))))
            (local.set $h (i32x4.shr_s
              (i32x4.add (v128.const i32x4 4096 4096 4096 4096) (i32x4.add
                (i8x16.shuffle 0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27 (local.get $h) (local.get $g))
                (i8x16.shuffle 4 5 6 7 12 13 14 15 20 21 22 23 28 29 30 31 (local.get $h) (local.get $g))))
              (i32.const 13)))
            (local.set $h (i16x8.narrow_i32x4_s (local.get $h) (local.get $h)))
            (i32.store16 (local.get $out) (i16x8.extract_lane_s 0 (local.get $h)))
            (local.set $out (i32.add (local.get $out) (local.get $strideBytes)))
            (i32.store16 (local.get $out) (i16x8.extract_lane_s 1 (local.get $h)))
            (local.set $out (i32.add (local.get $out) (local.get $strideBytes)))
            (i32.store16 (local.get $out) (i16x8.extract_lane_s 2 (local.get $h)))
            (local.set $out (i32.add (local.get $out) (local.get $strideBytes)))
            (i32.store16 (local.get $out) (i16x8.extract_lane_s 3 (local.get $h)))
            (local.set $out (i32.add (local.get $out) (local.get $strideBytes)))
            (local.set $n (i32.add (local.get $n) (i32.shl (local.get $upBy) (i32.const 2))))
            (br $fours)))

        (block $onesDone
          (loop $ones
            (br_if $onesDone (i32.ge_s (local.get $n) (local.get $outputSamples)))
            (local.set $x0 (local.get $x))
            (local.set $a0 (v128.const i32x4 0 0 0 0))
            (local.set $row (local.get $rowStart))
            (loop $taps1
              (local.set $a0 (i32x4.add (local.get $a0)
                (i32x4.dot_i16x8_s (v128.load (local.get $x0)) (v128.load (local.get $row)))))
              (local.set $x0 (i32.add (local.get $x0) (i32.const 16)))
              (br_if $taps1 (i32.lt_u (local.tee $row (i32.add (local.get $row) (i32.const 16))) (local.get $highStart))))
            (local.set $x0 (i32.add (local.get $x) (local.get $peakBytes)))
            (local.set $b0 (v128.const i32x4 0 0 0 0))
            (loop $high1
              (local.set $b0 (i32x4.add (local.get $b0)
                (i32x4.dot_i16x8_s (v128.load (local.get $x0)) (v128.load (local.get $row)))))
              (local.set $x0 (i32.add (local.get $x0) (i32.const 16)))
              (br_if $high1 (i32.lt_u (local.tee $row (i32.add (local.get $row) (i32.const 16))) (local.get $rowEnd))))
            (local.set $a0 (i32x4.add
              (i32x4.shr_s (local.get $a0) (local.get $lowShift)) (i32x4.shr_s (local.get $b0) (i32.const 2))))
            (local.set $x (i32.add (local.get $x) (local.get $stepBytes)))
            ;; the sum of the lanes in each lane
            (local.set $a0 (i32x4.add (local.get $a0)
              (i8x16.shuffle 8 9 10 11 12 13 14 15 0 1 2 3 4 5 6 7 (local.get $a0) (local.get $a0))))
            (local.set $a0 (i32x4.add (local.get $a0)
              (i8x16.shuffle 4 5 6 7 0 1 2 3 12 13 14 15 8 9 10 11 (local.get $a0) (local.get $a0))))
            (local.set $a0 (i32x4.shr_s (i32x4.add (local.get $a0) (v128.const i32x4 4096 4096 4096 4096)) (i32.const 13)))
            (i32.store16 (local.get $out) (i16x8.extract_lane_s 0 (i16x8.narrow_i32x4_s (local.get $a0) (local.get $a0))))
            (local.set $out (i32.add (local.get $out) (local.get $strideBytes)))
            (local.set $n (i32.add (local.get $n) (local.get $upBy)))
            (br $ones)))

        (local.set $phase (i32.add (local.get $phase) (i32.const 1)))
        (br $phases)))

    (memory.copy (local.get $history)
      (i32.add (local.get $scratch) (i32.shl (local.get $inputSamples) (i32.const 1)))
      (i32.shl (local.get $historySamples) (i32.const 1)))))
