import type { JSX } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { callPath, post, messageOf } from './api.js'
import { fieldOf, submits } from './parts.js'
import { T } from './strings.js'

/** Delay in s above which sound is skipped, so that the listener does not hear the call too late. */
const BEHIND_S_MAX = 1
/** Delay in s after the first message until its sound is played, so that later messages arrive in time. */
const AHEAD_S = 0.2

/**
 * Plays the sound of a live call.
 * @returns a function that stops the sound
 */
function listenTo(sid: string, over: (why: string | null) => void): () => void {
  const context = new AudioContext()
  const socket = new WebSocket(
    `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}${callPath(sid, '/listen')}`,
  )
  socket.binaryType = 'arraybuffer'
  let rateHz = 16_000
  let nextS = 0
  let opened = false
  const stop = (why: string | null): void => {
    socket.close()
    if (context.state !== 'closed') void context.close()
    over(why)
  }
  socket.addEventListener('open', () => (opened = true))
  socket.addEventListener('message', ({ data }: MessageEvent<string | ArrayBuffer>) => {
    if (typeof data === 'string') {
      rateHz = (JSON.parse(data) as { readonly sampleRateHz: number }).sampleRateHz
      return
    }
    const rows = new Int16Array(data)
    const buffer = context.createBuffer(2, rows.length / 2, rateHz)
    for (const channel of [0, 1]) {
      const out = buffer.getChannelData(channel)
      for (let row = 0; row < out.length; row++) out[row] = (rows[2 * row + channel] as number) / 32_768 // within `rows`
    }
    const nowS = context.currentTime
    if (nextS < nowS || nextS > nowS + BEHIND_S_MAX) nextS = nowS + AHEAD_S
    const source = context.createBufferSource()
    source.buffer = buffer
    source.connect(context.destination)
    source.start(nextS)
    nextS += buffer.duration
  })
  socket.addEventListener('close', ({ reason }) => stop(opened ? reason || null : T.supervise.refused))
  return () => stop(null)
}

/** A supervisor's controls for a live call: listen to it, and send words to its model. */
export function Supervise({
  sid,
  listens,
  onNote,
}: {
  readonly sid: string
  readonly listens: boolean
  readonly onNote: (note: string) => void
}): JSX.Element {
  const [stop, setStop] = useState<(() => void) | null>(null)
  useEffect(() => stop ?? undefined, [stop])
  const toggle = (): void => {
    if (stop !== null) return setStop(null)
    const stops = listenTo(sid, (why) => {
      setStop((now) => (now === stops ? null : now))
      if (why !== null) onNote(T.failed(why))
    })
    setStop(() => stops)
  }
  const whisper = (form: HTMLFormElement): void => {
    post(callPath(sid, '/whisper'), { text: fieldOf(form, 'text') }).then(
      () => {
        form.reset()
        onNote(T.supervise.whispered)
      },
      (thrown: unknown) => onNote(T.failed(messageOf(thrown))),
    )
  }
  return (
    <form class="bar" onSubmit={submits(whisper)}>
      {listens && (
        <button type="button" aria-pressed={stop !== null} onClick={toggle}>
          {stop === null ? T.supervise.listen : T.supervise.stop}
        </button>
      )}
      <input name="text" aria-label={T.supervise.hint} placeholder={T.supervise.hint} maxLength={500} required />
      <button>{T.supervise.whisper}</button>
    </form>
  )
}
