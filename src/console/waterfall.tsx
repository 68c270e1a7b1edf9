import type { JSX } from 'preact'
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { barsOf, turnsOf } from './call-model.js'
import type { Bar, CallModel, Lane } from './call-model.js'
import { clockOf, placeOf, tookOf } from './format.js'
import type { Recording } from './recording.js'
import { T, markWords } from './strings.js'

/** Lanes from top to bottom, each with its height in px. */
const LANES: readonly (readonly [Lane, number])[] = [
  ['caller', 54],
  ['vad', 16],
  ['backend', 18],
  ['tools', 22],
  ['agent', 54],
  ['bargeIn', 18],
  ['marks', 16],
]
/** Width in px of the labels of the recording's tracks. */
const WORDS_PX = 15
const RULER_PX = 24
const GAP_PX = 6
const HEIGHT_PX = RULER_PX + LANES.reduce((sum, [, px]) => sum + px + GAP_PX, 0)
/** Minimum duration in ms that the view can show. */
const SPAN_MS_MIN = 400
const ZOOM = 1.6
/** Minimum width in px of a bar, so that it is visible. */
const BAR_PX_MIN = 2
/** Maximum distance in px between pointer and bar. */
const NEAR_PX = 4

interface View {
  readonly fromMs: number
  readonly toMs: number
}

interface WaterfallProps {
  readonly call: CallModel
  readonly recording: Recording | null
  /** Position in ms since the webhook. */
  readonly cursorMs: number | null
  /** Plays from a position; null if there is no recording to play. */
  readonly onSeek: ((atMs: number) => void) | null
  /** Time span to show, for example a turn. Each new object moves the view. */
  readonly show: View | null
}

/** Waterfall: the whole call on one time axis. */
export function Waterfall({ call, recording, cursorMs, onSeek, show }: WaterfallProps): JSX.Element {
  const canvas = useRef<HTMLCanvasElement>(null)
  const [width, setWidth] = useState(0)
  const [view, setView] = useState<View | null>(null)
  const [near, setNear] = useState<{ readonly bar: Bar; readonly x: number; readonly y: number } | null>(null)
  const [themes, setThemes] = useState(0)
  const drag = useRef<{ readonly x: number; readonly view: View; moved: boolean } | null>(null)
  const bars = useMemo(() => barsOf(call, markWords), [call])
  const turns = useMemo(() => turnsOf(call), [call])
  const whole = { fromMs: 0, toMs: call.endMs }
  const shown = view ?? whole

  useEffect(() => {
    if (show !== null) setView(bounded(show, call.endMs))
  }, [show])

  useEffect(() => {
    const box = canvas.current?.parentElement
    if (box === null || box === undefined) return undefined
    const observer = new ResizeObserver(() => setWidth(box.clientWidth))
    observer.observe(box)
    const themed = (): void => setThemes((n) => n + 1)
    const system = matchMedia('(prefers-color-scheme: dark)')
    addEventListener('mkondo-theme', themed)
    system.addEventListener('change', themed)
    return () => {
      observer.disconnect()
      removeEventListener('mkondo-theme', themed)
      system.removeEventListener('change', themed)
    }
  }, [])

  useEffect(() => {
    if (canvas.current !== null && width > 0)
      draw(canvas.current, width, { bars, turns, view: shown, recording, zeroMs: call.zeroMs, cursorMs })
  }, [width, bars, turns, shown.fromMs, shown.toMs, recording, cursorMs, themes])

  // The listener is registered by hand, because only a listener that is not passive can prevent the page's own zoom.
  useEffect(() => {
    const target = canvas.current
    if (target === null) return undefined
    const wheel = (event: WheelEvent): void => {
      if (!event.ctrlKey && !event.metaKey && Math.abs(event.deltaX) <= Math.abs(event.deltaY)) return
      event.preventDefault()
      if (event.ctrlKey || event.metaKey) zoom(event.deltaY < 0 ? ZOOM : 1 / ZOOM, msAt(event.offsetX))
      else move((event.deltaX / width) * (shown.toMs - shown.fromMs))
    }
    target.addEventListener('wheel', wheel, { passive: false })
    return () => target.removeEventListener('wheel', wheel)
  })

  const msAt = (x: number): number => shown.fromMs + (x / Math.max(1, width)) * (shown.toMs - shown.fromMs)
  const middleMs = (shown.fromMs + shown.toMs) / 2
  const zoom = (by: number, aroundMs = cursorMs ?? middleMs): void => {
    const share = (aroundMs - shown.fromMs) / (shown.toMs - shown.fromMs)
    const spanMs = (shown.toMs - shown.fromMs) / by
    setView(bounded({ fromMs: aroundMs - share * spanMs, toMs: aroundMs + (1 - share) * spanMs }, call.endMs))
  }
  const move = (ms: number): void => {
    setView(bounded({ fromMs: shown.fromMs + ms, toMs: shown.toMs + ms }, call.endMs))
  }
  const key = (event: KeyboardEvent): void => {
    const stepMs = (shown.toMs - shown.fromMs) / 8
    const actions: Readonly<Record<string, () => void>> = {
      ArrowLeft: () => move(-stepMs),
      ArrowRight: () => move(stepMs),
      '+': () => zoom(ZOOM),
      '=': () => zoom(ZOOM),
      '-': () => zoom(1 / ZOOM),
      '0': () => setView(null),
      Enter: () => onSeek?.(middleMs),
    }
    const action = actions[event.key]
    if (action === undefined) return
    event.preventDefault()
    action()
  }
  const pointerMove = (event: PointerEvent): void => {
    const from = drag.current
    if (from !== null) {
      const byPx = event.clientX - from.x
      if (Math.abs(byPx) > NEAR_PX) from.moved = true
      if (from.moved) {
        const ms = (-byPx / width) * (from.view.toMs - from.view.fromMs)
        setView(bounded({ fromMs: from.view.fromMs + ms, toMs: from.view.toMs + ms }, call.endMs))
      }
      return
    }
    const bar = barAt(bars, event.offsetX, event.offsetY, shown, width)
    setNear(bar === null ? null : { bar, x: event.offsetX, y: event.offsetY })
  }
  return (
    <div class="waterfall">
      <div class="lane-names" aria-hidden="true">
        {LANES.map(([lane, px]) => (
          <span key={lane} style={{ height: `${px}px`, marginBottom: `${GAP_PX}px` }}>
            {T.call.lanes[lane]}
          </span>
        ))}
      </div>
      <div class="canvas-box">
        <canvas
          ref={canvas}
          role="img"
          tabIndex={0}
          aria-label={T.call.timelineHelp}
          height={HEIGHT_PX}
          onKeyDown={key}
          onPointerDown={(event) => {
            drag.current = { x: event.clientX, view: shown, moved: false }
            event.currentTarget.setPointerCapture(event.pointerId)
          }}
          onPointerMove={pointerMove}
          onPointerUp={(event) => {
            const moved = drag.current?.moved === true
            drag.current = null
            if (!moved) onSeek?.(msAt(event.offsetX))
          }}
          onPointerLeave={() => setNear(null)}
        />
        {near !== null && <Tip bar={near.bar} x={near.x} y={near.y} width={width} zeroMs={call.zeroMs} />}
      </div>
      <div class="zoom">
        <button type="button" class="small" aria-label={T.call.zoomOut} onClick={() => zoom(1 / ZOOM)}>
          −
        </button>
        <button type="button" class="small" aria-label={T.call.zoomIn} onClick={() => zoom(ZOOM)}>
          +
        </button>
        <button type="button" class="small" disabled={view === null} onClick={() => setView(null)}>
          {T.call.fit}
        </button>
      </div>
    </div>
  )
}

function Tip(props: {
  readonly bar: Bar
  readonly x: number
  readonly y: number
  readonly width: number
  readonly zeroMs: number
}): JSX.Element {
  const { bar, x, y, width, zeroMs } = props
  const tookMs = bar.toMs - bar.fromMs
  const side = x > width / 2 ? { right: `${width - x + 12}px` } : { left: `${x + 12}px` }
  return (
    <div class="tip" style={{ ...side, top: `${y + 14}px` }}>
      <b>{bar.label}</b>
      <span class="muted">
        {placeOf(bar.fromMs - zeroMs)}
        {tookMs > 0 ? ` · ${tookOf(tookMs)}` : ''}
      </span>
      {bar.detail !== '' && <span>{bar.detail}</span>}
    </div>
  )
}

/** View within the call, with at least the minimum time span. */
function bounded({ fromMs, toMs }: View, endMs: number): View {
  const spanMs = Math.min(endMs, Math.max(SPAN_MS_MIN, toMs - fromMs))
  const from = Math.max(0, Math.min(endMs - spanMs, fromMs))
  return { fromMs: from, toMs: from + spanMs }
}

function topOf(lane: Lane): { readonly y: number; readonly px: number } {
  let y = RULER_PX
  for (const [name, px] of LANES) {
    if (name === lane) return { y, px }
    y += px + GAP_PX
  }
  return { y, px: 0 }
}

function barAt(bars: readonly Bar[], x: number, y: number, view: View, width: number): Bar | null {
  const pxPerMs = width / (view.toMs - view.fromMs)
  const near = bars.findLast((bar) => {
    const { y: top, px } = topOf(bar.lane)
    if (y < top || y > top + px) return false
    const from = (bar.fromMs - view.fromMs) * pxPerMs
    const to = (bar.toMs - view.fromMs) * pxPerMs
    return x >= from - NEAR_PX && x <= Math.max(to, from + BAR_PX_MIN) + NEAR_PX
  })
  return near ?? null
}

interface Drawing {
  readonly bars: readonly Bar[]
  readonly turns: ReturnType<typeof turnsOf>
  readonly view: View
  readonly recording: Recording | null
  readonly zeroMs: number
  readonly cursorMs: number | null
}

/** Steps of the ruler. */
const STEPS_MS = [50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000]
const STEP_PX_MIN = 70

function draw(canvas: HTMLCanvasElement, width: number, drawing: Drawing): void {
  const pen = canvas.getContext('2d')
  if (pen === null) return
  const scale = devicePixelRatio
  canvas.width = Math.round(width * scale)
  canvas.height = Math.round(HEIGHT_PX * scale)
  canvas.style.width = `${width}px`
  canvas.style.height = `${HEIGHT_PX}px`
  pen.scale(scale, scale)
  const style = getComputedStyle(canvas)
  const colour = (name: string): string => style.getPropertyValue(`--${name}`).trim()
  const { view, zeroMs } = drawing
  const pxPerMs = width / (view.toMs - view.fromMs)
  const xOf = (ms: number): number => (ms - view.fromMs) * pxPerMs
  pen.font = `11px ${style.fontFamily}`
  pen.textBaseline = 'middle'

  // Waits of the turns: from the end of the caller's speech to the agent's first sound.
  for (const { fromMs, turn, index } of drawing.turns) {
    const toMs = fromMs + (turn.firstSoundMs ?? 0)
    if (toMs < view.fromMs || fromMs > view.toMs) continue
    const x = xOf(fromMs)
    pen.fillStyle = colour('turn-band')
    pen.fillRect(x, RULER_PX - 4, Math.max(1, xOf(toMs) - x), HEIGHT_PX)
    pen.fillStyle = colour('muted')
    if ((toMs - fromMs) * pxPerMs > 16) pen.fillText(String(index + 1), x + 3, HEIGHT_PX - 8)
  }

  const stepMs = STEPS_MS.find((ms) => ms * pxPerMs >= STEP_PX_MIN) ?? 3_600_000
  pen.strokeStyle = colour('line')
  pen.fillStyle = colour('muted')
  pen.lineWidth = 1
  for (let ms = Math.ceil((view.fromMs - zeroMs) / stepMs) * stepMs; ms + zeroMs <= view.toMs; ms += stepMs) {
    const x = Math.round(xOf(ms + zeroMs)) + 0.5
    pen.beginPath()
    pen.moveTo(x, RULER_PX - 6)
    pen.lineTo(x, HEIGHT_PX)
    pen.stroke()
    const text = ms < 0 ? '' : stepMs < 1000 ? placeOf(ms) : clockOf(ms)
    if (x + 40 < width) pen.fillText(text, x + 3, 9)
  }

  if (drawing.recording !== null) {
    wave(pen, drawing, 0, 'caller', colour('caller'), width)
    wave(pen, drawing, 1, 'agent', colour('agent'), width)
  }
  for (const bar of drawing.bars) {
    if (bar.toMs < view.fromMs || bar.fromMs > view.toMs) continue
    paint(pen, bar, xOf(bar.fromMs), xOf(bar.toMs), colour, drawing.recording !== null)
  }
  if (drawing.cursorMs !== null) {
    pen.fillStyle = colour('accent')
    pen.fillRect(Math.round(xOf(drawing.cursorMs)) - 1, 0, 2, HEIGHT_PX)
  }
}

const LANE_COLOURS: Readonly<Record<Lane, string>> = {
  caller: 'caller',
  vad: 'caller',
  backend: 'backend',
  tools: 'tool',
  agent: 'agent',
  bargeIn: 'danger',
  marks: 'muted',
}

function paint(
  pen: CanvasRenderingContext2D,
  bar: Bar,
  fromPx: number,
  toPx: number,
  colour: (name: string) => string,
  waves: boolean,
): void {
  const { y, px } = topOf(bar.lane)
  const width = Math.max(BAR_PX_MIN, toPx - fromPx)
  const own = colour(LANE_COLOURS[bar.lane])
  if (bar.lane === 'marks') {
    pen.fillStyle = own
    pen.beginPath()
    pen.arc(fromPx, y + px / 2, 3, 0, 2 * Math.PI)
    pen.fill()
    return
  }
  const track = bar.lane === 'caller' || bar.lane === 'agent'
  const faint = track ? (waves ? 0.14 : 0.3) : bar.lane === 'vad' ? 0.55 : 0.85
  pen.globalAlpha = bar.kind === 'unheard' || bar.kind === 'wait' ? faint / 2.5 : faint
  pen.fillStyle = bar.kind === 'failed' ? colour('danger') : own
  pen.strokeStyle = own
  pen.beginPath()
  pen.roundRect(fromPx, y, width, px, Math.min(3, width / 2))
  if (bar.kind === 'resumed') pen.stroke()
  else pen.fill()
  pen.globalAlpha = 1
  if (width < 28 || bar.lane === 'vad' || bar.lane === 'bargeIn') return
  pen.save()
  pen.beginPath()
  pen.rect(fromPx, y, width - 4, px)
  pen.clip()
  pen.fillStyle = track || bar.kind === 'wait' ? colour('ink') : colour('on-colour')
  pen.fillText(bar.label, Math.max(fromPx, 0) + 5, track ? y + WORDS_PX / 2 + 1 : y + px / 2 + 0.5)
  pen.restore()
}

/** Track of the recording in its lane. */
function wave(
  pen: CanvasRenderingContext2D,
  { recording, view, zeroMs }: Drawing,
  channel: 0 | 1,
  lane: Lane,
  colour: string,
  width: number,
): void {
  if (recording === null) return
  const y = topOf(lane).y + WORDS_PX
  const px = topOf(lane).px - WORDS_PX
  const peaks = recording.peaks[channel]
  const middle = y + px / 2
  const msPerPx = (view.toMs - view.fromMs) / width
  pen.fillStyle = colour
  for (let x = 0; x < width; x++) {
    const fromBlock = Math.floor((view.fromMs + x * msPerPx - zeroMs) / recording.blockMs)
    const toBlock = Math.max(fromBlock + 1, Math.ceil((view.fromMs + (x + 1) * msPerPx - zeroMs) / recording.blockMs))
    let low = 0
    let high = 0
    for (let block = Math.max(0, fromBlock); block < toBlock && 2 * block < peaks.length; block++) {
      low = Math.min(low, peaks[2 * block] ?? 0)
      high = Math.max(high, peaks[2 * block + 1] ?? 0)
    }
    // The wave is drawn at twice the height, because speech is usually far below full scale. Louder sound is cut off at
    // the edges of the lane.
    const top = Math.max(y, middle - high * px)
    const bottom = Math.min(y + px, middle - low * px)
    if (high - low > 0.002) pen.fillRect(x, top, 1, Math.max(1, bottom - top))
  }
}
