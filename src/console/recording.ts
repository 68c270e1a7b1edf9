import { useEffect, useRef, useState } from 'preact/hooks'
import { callPath, getBytes, messageOf } from './api.js'

/**
 * A stereo recording. The caller is on the left channel, the agent on the right channel. It starts when the stream
 * opens.
 */
export interface Recording {
  readonly rateHz: number
  readonly durationMs: number
  /** Lowest and highest sample of each block, for each channel, as fractions of full scale: low, high, low, high… */
  readonly peaks: readonly [Float32Array, Float32Array]
  readonly blockMs: number
  readonly url: string
}

/** Length in ms of a block of the waveform. */
const BLOCK_MS = 10
const HEADER_BYTES = 44

/** @throws Error if the file is not a 16-bit stereo WAV file in the gateway's form */
export function readRecording(bytes: ArrayBuffer): Omit<Recording, 'url'> {
  const view = new DataView(bytes)
  const isWav = bytes.byteLength >= HEADER_BYTES && view.getUint32(0) === 0x52494646 && view.getUint16(34, true) === 16
  if (!isWav || view.getUint16(22, true) !== 2) throw new Error('it is not a 16-bit stereo WAV file')
  const rateHz = view.getUint32(24, true)
  const samples = new Int16Array(bytes, HEADER_BYTES, Math.floor((bytes.byteLength - HEADER_BYTES) / 4) * 2)
  const perBlock = Math.max(1, Math.round((rateHz * BLOCK_MS) / 1000))
  const rows = samples.length / 2
  const blocks = Math.ceil(rows / perBlock)
  const peaks: [Float32Array, Float32Array] = [new Float32Array(2 * blocks), new Float32Array(2 * blocks)]
  for (let block = 0; block < blocks; block++) {
    const to = Math.min(rows, (block + 1) * perBlock)
    for (const channel of [0, 1] as const) {
      let low = 0
      let high = 0
      for (let row = block * perBlock; row < to; row++) {
        const sample = samples[2 * row + channel] as number // within the bounds above
        if (sample < low) low = sample
        else if (sample > high) high = sample
      }
      peaks[channel][2 * block] = low / 32_768
      peaks[channel][2 * block + 1] = high / 32_768
    }
  }
  return { rateHz, durationMs: (rows * 1000) / rateHz, peaks, blockMs: (perBlock * 1000) / rateHz }
}

export interface Player {
  readonly recording: Recording | null
  readonly loading: boolean
  readonly fault: string | null
  readonly load: () => void
  /** Position of the recording in ms; null before the recording was played. */
  readonly atMs: number | null
  readonly playing: boolean
  /** Plays or pauses. */
  readonly toggle: () => void
  /** Plays from there. */
  readonly playFrom: (ms: number) => void
}

/**
 * Loads and plays the recording of a call.
 * @param automatic  true: loads the recording without a request
 */
export function useRecording(sid: string, automatic: boolean): Player {
  const [recording, setRecording] = useState<Recording | null>(null)
  const [loading, setLoading] = useState(false)
  const [fault, setFault] = useState<string | null>(null)
  const [atMs, setAtMs] = useState<number | null>(null)
  const [playing, setPlaying] = useState(false)
  const audio = useRef<HTMLAudioElement | null>(null)

  const load = (): void => {
    setLoading(true)
    getBytes(callPath(sid, '/recording.wav'))
      .then((bytes) => {
        const url = URL.createObjectURL(new Blob([bytes], { type: 'audio/wav' }))
        setRecording({ ...readRecording(bytes), url })
        audio.current = new Audio(url)
        for (const name of ['play', 'pause', 'ended']) {
          audio.current.addEventListener(name, () => setPlaying(audio.current?.paused === false))
        }
        setFault(null)
      })
      .catch((thrown: unknown) => setFault(messageOf(thrown)))
      .finally(() => setLoading(false))
  }
  useEffect(() => {
    if (automatic) load()
  }, [automatic, sid])
  useEffect(() => {
    if (!playing) return undefined
    let frame = 0
    const follow = (): void => {
      setAtMs((audio.current?.currentTime ?? 0) * 1000)
      frame = requestAnimationFrame(follow)
    }
    follow()
    return () => cancelAnimationFrame(frame)
  }, [playing])
  useEffect(
    () => () => {
      audio.current?.pause()
      if (recording !== null) URL.revokeObjectURL(recording.url)
    },
    [recording],
  )
  const start = (): void => {
    audio.current?.play().catch((thrown: unknown) => setFault(String(thrown)))
  }
  return {
    recording,
    loading,
    fault,
    load,
    atMs,
    playing,
    toggle: () => (playing ? audio.current?.pause() : start()),
    playFrom: (ms) => {
      if (audio.current === null) return
      audio.current.currentTime = Math.max(0, ms / 1000)
      setAtMs(Math.max(0, ms))
      start()
    },
  }
}
