import type { JSX } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import type { CallModel, Line } from './call-model.js'
import { placeOf, tookOf } from './format.js'
import { T, markWords } from './strings.js'

interface TranscriptProps {
  readonly call: CallModel
  readonly lines: readonly Line[]
  /** Position of the recording in ms since the webhook; null if the recording is not playing. */
  readonly cursorMs: number | null
  readonly onSeek: ((atMs: number) => void) | null
  /** True to keep the newest line visible. */
  readonly follow: boolean
}

/**
 * Transcript: spoken words, with tools, interruptions and decisions between them. Words are always shown as plain text.
 */
export function Transcript({ call, lines, cursorMs, onSeek, follow }: TranscriptProps): JSX.Element {
  const box = useRef<HTMLOListElement>(null)
  const current = cursorMs === null ? -1 : lines.findLastIndex((line) => line.atMs <= cursorMs && line.type === 'words')
  useEffect(() => {
    const list = box.current
    const item = list?.children[follow ? lines.length - 1 : current]
    if (list === null || !(item instanceof HTMLElement)) return
    // Scrolls only this list, never the page.
    const above = item.offsetTop - list.offsetTop
    if (follow) list.scrollTop = list.scrollHeight
    else if (above < list.scrollTop || above + item.offsetHeight > list.scrollTop + list.clientHeight)
      list.scrollTop = above - list.clientHeight / 3
  }, [current, follow ? lines.length : 0])
  if (lines.length === 0) return <p class="empty">{call.live ? T.call.noWords : T.call.wordsNotKept}</p>
  return (
    <ol
      class="transcript"
      ref={box}
      tabIndex={0}
      aria-label={T.call.transcript}
      aria-live={follow ? 'polite' : undefined}
    >
      {lines.map((line, index) => (
        <li key={`${line.type}${index}`} class={`line line-${kindOf(line)} ${index === current ? 'current' : ''}`}>
          {onSeek === null ? (
            <span class="place">{placeOf(line.atMs - call.zeroMs)}</span>
          ) : (
            <button type="button" class="place" onClick={() => onSeek(line.atMs)}>
              {placeOf(line.atMs - call.zeroMs)}
            </button>
          )}
          <LineBody line={line} />
        </li>
      ))}
    </ol>
  )
}

function kindOf(line: Line): string {
  return line.type === 'words' ? line.entry.role : line.type
}

function LineBody({ line }: { readonly line: Line }): JSX.Element {
  switch (line.type) {
    case 'words': {
      const { role, text, interrupted, playedMs } = line.entry
      return (
        <p>
          <b>{T.call.roles[role]}</b> <span dir="auto">{text}</span>
          {interrupted === true && <em class="note"> {T.call.interrupted(tookOf(playedMs))}</em>}
        </p>
      )
    }
    case 'tool': {
      const { name, args, ms, ok, error } = line.tool
      return (
        <p>
          <b>{T.call.tool(name)}</b> <code>{JSON.stringify(args)}</code>{' '}
          <span class={ok ? 'muted' : 'slow'}>
            {ok ? tookOf(ms) : `${T.call.toolFailed}: ${error ?? ''} ${tookOf(ms)}`}
          </span>
        </p>
      )
    }
    case 'barge-in': {
      const { committed, stopMs, why } = line.bargeIn
      return (
        <p>
          <b>{committed ? markWords('barge-in') : markWords('barge-in-resume')}</b> {why}
          {stopMs !== null && <span class="muted"> · {T.call.stopped(tookOf(stopMs))}</span>}
        </p>
      )
    }
    case 'mark':
      return (
        <p>
          <b>{markWords(line.mark.name)}</b> <span class="muted">{line.mark.detail}</span>
        </p>
      )
  }
}
