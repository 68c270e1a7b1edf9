import { LEVEL_DBFS_MIN } from '../pcm.js'

// 6 dB let 92 % of the speech through at 10 dB of noise.
const OPEN_OVER_FLOOR_DB = 6
// Quieter than any line that has a person on it; keeps digital silence from opening the gate for a whisper of noise.
const FLOOR_DBFS_MIN = -66
const FALL_SHARE = 0.2
const RISE_SHARE = 0.002
const RISE_DB_MAX = 0.02
// Levels of the last 640 ms. Speech moves by 6 to 15 dB in that time, steady noise by 1 to 3.
const WINDOW_FRAMES = 32
const STEADY_DEVIATION_DB = 3.5
const STEADY_SHARE = 0.1
const SETTLED_FRAMES = 50

/**
 * Tells loud frames from the noise of the line. The floor falls quickly and rises slowly, as speech would drag it up;
 * but a level that has been steady for 640 ms is noise however loud it is, and becomes the floor within the next 200
 * ms. So noise that is loud from the first frame, or that begins in mid-call, does not hold the gate open.
 */
export class EnergyGate {
  floorDbfs = LEVEL_DBFS_MIN
  readonly #levels = new Float32Array(WINDOW_FRAMES)
  #frames = 0
  #sum = 0
  #sumOfSquares = 0

  /** False in the first second: a call that begins with a voice has no floor yet. */
  get settled(): boolean {
    return this.#frames >= SETTLED_FRAMES
  }

  /**
   * @param feedsFloor false for a frame that says nothing about the line: our own echo
   * @param marginDb by which it must be
   * @returns true when the frame is louder than the noise
   */
  isOpen(levelDbfs: number, feedsFloor: boolean, marginDb = OPEN_OVER_FLOOR_DB): boolean {
    if (feedsFloor) this.#learn(Math.max(levelDbfs, FLOOR_DBFS_MIN))
    return this.#frames > 0 && levelDbfs > this.floorDbfs + marginDb
  }

  #learn(level: number): void {
    if (this.#frames === 0) this.floorDbfs = level
    const slot = this.#frames % WINDOW_FRAMES
    const old = this.#levels[slot] as number
    // As the window keeps it, so that what is added is what will be taken away.
    const rounded = Math.fround(level)
    this.#levels[slot] = rounded
    if (this.#frames >= WINDOW_FRAMES) {
      this.#sum -= old
      this.#sumOfSquares -= old * old
    }
    this.#sum += rounded
    this.#sumOfSquares += rounded * rounded
    this.#frames++

    const above = level - this.floorDbfs
    const mean = this.#sum / WINDOW_FRAMES
    if (this.#frames >= WINDOW_FRAMES && this.#sumOfSquares / WINDOW_FRAMES - mean * mean < STEADY_DEVIATION_DB ** 2) {
      this.floorDbfs += (mean - this.floorDbfs) * STEADY_SHARE
    } else if (above < 0) {
      this.floorDbfs += above * FALL_SHARE
    } else {
      this.floorDbfs += Math.min(RISE_DB_MAX, above * RISE_SHARE)
    }
  }
}
