const whole = new Float32Array(6 + 320)
/** prototype */
export function narrow8k(frame: Int16Array, history: Float32Array, out: Float32Array): void {
  if (frame.length === 160) {
    out.set(frame)
    return
  }
  whole.set(history)
  whole.set(frame, 6)
  for (let i = 0; i < 160; i++) {
    const at = 2 * i
    out[i] =
      (16 * (whole[at + 3] as number) +
        9 * ((whole[at + 2] as number) + (whole[at + 4] as number)) -
        (whole[at] as number) -
        (whole[at + 6] as number)) /
      32
  }
  history.set(whole.subarray(320, 326))
}
