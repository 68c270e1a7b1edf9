/**
 * Sound of the softphone, on the browser's audio thread. The microphone's sound becomes 16 kHz frames of 20 ms; the
 * gateway's frames get the loudspeaker's rate.
 */

declare const sampleRate: number
declare function registerProcessor(name: string, processor: new () => AudioWorkletProcessor): void
declare class AudioWorkletProcessor {
  readonly port: MessagePort
}

const CALL_RATE_HZ = 16_000
const FRAME_SAMPLES = 320

/** HALF_TAPS: half the length of the filter, in samples of the lower rate. PHASES: number of the filter's phases. */
const HALF_TAPS = 12
const PHASES = 64

/**
 * Resamples a stream of samples with a windowed sinc filter for the lower of the two rates. Any ratio of the rates is
 * possible.
 */
class Resampler {
  readonly #step: number
  readonly #half: number
  readonly #rows: Float32Array[]
  readonly #history: Float32Array
  #filled = 0
  /** Position of the next output sample, in input samples from the start of the history. */
  #at: number

  constructor(fromHz: number, toHz: number) {
    const cut = Math.min(1, toHz / fromHz)
    this.#step = fromHz / toHz
    this.#half = Math.ceil(HALF_TAPS / cut)
    this.#at = this.#half
    this.#history = new Float32Array(4 * this.#half + 4096)
    this.#rows = Array.from({ length: PHASES + 1 }, (_, phase) => row(phase / PHASES, cut, this.#half))
  }

  /** Adds input samples, and calls `out` for each output sample that is now complete. */
  push(input: Float32Array, out: (sample: number) => void): void {
    if (this.#filled + input.length > this.#history.length) return // a block is 128 samples
    this.#history.set(input, this.#filled)
    this.#filled += input.length
    while (this.#at + this.#half + 1 < this.#filled) {
      const whole = Math.floor(this.#at)
      const taps = this.#rows[Math.round((this.#at - whole) * PHASES)] as Float32Array
      let sum = 0
      for (let i = 0; i < taps.length; i++)
        sum += (taps[i] as number) * (this.#history[whole - this.#half + 1 + i] as number)
      out(sum)
      this.#at += this.#step
    }
    const done = Math.floor(this.#at) - this.#half
    if (done <= 0) return
    this.#history.copyWithin(0, done, this.#filled)
    this.#filled -= done
    this.#at -= done
  }
}

function row(phase: number, cut: number, half: number): Float32Array {
  const taps = new Float32Array(2 * half)
  let sum = 0
  for (let i = 0; i < taps.length; i++) {
    const x = i - half + 1 - phase
    const window = Math.abs(x) >= half ? 0 : 0.5 + 0.5 * Math.cos((Math.PI * x) / half)
    const sinc = x === 0 ? 1 : Math.sin(Math.PI * x * cut) / (Math.PI * x * cut)
    taps[i] = window * sinc
    sum += taps[i] as number
  }
  return taps.map((tap) => tap / sum)
}

class Microphone extends AudioWorkletProcessor {
  readonly #down = new Resampler(sampleRate, CALL_RATE_HZ)
  #frame = new Int16Array(FRAME_SAMPLES)
  #at = 0

  process([input]: readonly (readonly Float32Array[])[]): boolean {
    const samples = input?.[0]
    if (samples === undefined) return true
    this.#down.push(samples, (sample) => {
      this.#frame[this.#at++] = Math.max(-32_768, Math.min(32_767, Math.round(sample * 32_768)))
      if (this.#at < FRAME_SAMPLES) return
      this.port.postMessage(this.#frame.buffer, [this.#frame.buffer])
      this.#frame = new Int16Array(FRAME_SAMPLES)
      this.#at = 0
    })
    return true
  }
}

/**
 * LEAD_MS: duration in ms of buffered sound before playing starts. HELD_MS_MAX: maximum of waiting sound. More sound
 * waits if the gateway's clock is faster; it is then cut to LEAD_MS.
 */
const LEAD_MS = 80
const HELD_MS_MAX = 400

class Loudspeaker extends AudioWorkletProcessor {
  readonly #up = new Resampler(CALL_RATE_HZ, sampleRate)
  readonly #ring = new Float32Array(sampleRate)
  readonly #leadSamples = (LEAD_MS * sampleRate) / 1000
  readonly #heldMax = (HELD_MS_MAX * sampleRate) / 1000
  #readAt = 0
  #held = 0
  #playing = false

  constructor() {
    super()
    this.port.onmessage = ({ data }: MessageEvent<ArrayBuffer>): void => {
      const frame = new Int16Array(data)
      const input = Float32Array.from(frame, (sample) => sample / 32_768)
      this.#up.push(input, (sample) => {
        if (this.#held >= this.#heldMax) this.#skip(this.#held - this.#leadSamples)
        this.#ring[(this.#readAt + this.#held) % this.#ring.length] = sample
        this.#held++
      })
      if (this.#held >= this.#leadSamples) this.#playing = true
    }
  }

  process(_: unknown, [output]: readonly (readonly Float32Array[])[]): boolean {
    const channel = output?.[0]
    if (channel === undefined || !this.#playing) return true
    const samples = Math.min(channel.length, this.#held)
    for (let i = 0; i < samples; i++) channel[i] = this.#ring[(this.#readAt + i) % this.#ring.length] as number
    this.#skip(samples)
    if (this.#held === 0) this.#playing = false
    return true
  }

  #skip(samples: number): void {
    const whole = Math.floor(samples)
    this.#readAt = (this.#readAt + whole) % this.#ring.length
    this.#held -= whole
  }
}

registerProcessor('mkondo-microphone', Microphone)
registerProcessor('mkondo-loudspeaker', Loudspeaker)

export {}
