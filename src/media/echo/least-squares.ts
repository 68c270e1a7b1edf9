/**
 * Explains one signal by shifted copies of another: least squares over a handful of taps, frame by frame. One object
 * serves all calls of a thread; what it holds is valid until the next `set`.
 */
export class LeastSquares {
  /** After `solve`: the weight of each tap. */
  readonly weights: Float64Array
  #taps = 0
  /** Products of the target and of the copies: the right side, and the upper half of the matrix, row after row. */
  readonly #cross: Float64Array
  readonly #normal: Float64Array
  readonly #factor: Float64Array

  constructor(tapsMax: number) {
    this.weights = new Float64Array(tapsMax)
    this.#cross = new Float64Array(tapsMax)
    this.#normal = new Float64Array(tapsMax * tapsMax)
    this.#factor = new Float64Array(tapsMax * tapsMax)
  }

  /**
   * @param source `length` + `taps` samples at least; copy k is `source` from its sample k on
   * @param length even
   * @returns false when the source has less than `powerMin` a sample, and so explains nothing
   */
  set(target: Float32Array, source: Float32Array, length: number, taps: number, powerMin: number): boolean {
    const normal = this.#normal
    this.#taps = taps
    normal[0] = dotProduct(source, 0, source, 0, length)
    if (normal[0] < powerMin * length) return false
    for (let tap = 0; tap < taps; tap++) {
      this.#cross[tap] = dotProduct(target, 0, source, tap, length)
      normal[tap] = dotProduct(source, 0, source, tap, length)
    }
    // The other rows by moving the window one sample on.
    for (let row = 1; row < taps; row++) {
      for (let column = row; column < taps; column++) {
        normal[row * taps + column] = (normal[(row - 1) * taps + column - 1] as number)
          - (source[row - 1] as number) * (source[column - 1] as number)
          + (source[length + row - 1] as number) * (source[length + column - 1] as number)
      }
    }
    return true
  }

  /** The power of one copy. */
  powerOf(tap: number): number {
    return this.#normal[tap * this.#taps + tap] as number
  }

  /** Solves the normal equations by Cholesky's way. @returns the power of the target that is explained */
  solve(): number {
    const taps = this.#taps
    const factor = this.#factor
    const weights = this.weights
    const ridge = this.powerOf(0) * RIDGE + 1
    for (let row = 0; row < taps; row++) {
      let product = this.#cross[row] as number
      for (let k = 0; k < row; k++) product -= (factor[k * taps + row] as number) * (weights[k] as number)
      for (let column = row; column < taps; column++) {
        let a = (this.#normal[row * taps + column] as number) + (row === column ? ridge : 0)
        for (let k = 0; k < row; k++) a -= (factor[k * taps + row] as number) * (factor[k * taps + column] as number)
        factor[row * taps + column] = row === column ? Math.sqrt(Math.max(a, 1)) : a / (factor[row * taps + row] as number)
      }
      weights[row] = product / (factor[row * taps + row] as number)
    }
    let power = 0
    for (let row = 0; row < taps; row++) power += (weights[row] as number) ** 2
    for (let row = taps - 1; row >= 0; row--) {
      let weight = weights[row] as number
      for (let k = row + 1; k < taps; k++) weight -= (factor[row * taps + k] as number) * (weights[k] as number)
      weights[row] = weight / (factor[row * taps + row] as number)
    }
    return power
  }
}

/** Sum of products of an even number of samples. */
export function dotProduct(a: Float32Array, fromA: number, b: Float32Array, fromB: number, length: number): number {
  // Two sums, as one would wait for itself at each sample.
  let sum0 = 0, sum1 = 0
  for (let i = 0; i < length; i += 2) {
    sum0 += (a[fromA + i] as number) * (b[fromB + i] as number)
    sum1 += (a[fromA + i + 1] as number) * (b[fromB + i + 1] as number)
  }
  return sum0 + sum1
}

// Enough for the solution to stay sane where a vowel makes all taps alike.
const RIDGE = 0.0003
