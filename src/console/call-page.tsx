import type { CallEvent, CallTimelineView, LiveCallView } from '../call/documents/call-view.js'
import type { ComponentChildren, JSX } from 'preact'
import { useEffect, useMemo, useState } from 'preact/hooks'
import type { CallRecord, CostPart } from '../call/documents/record.js'
import type { WhyView } from '../call/why/why.js'
import { callPath, getJson, post, useEvents, useJson, messageOf } from './api.js'
import { STEPS, isUnheard, linesOf, ofRecord, turnsOf, withEvent } from './call-model.js'
import type { CallModel, ShownTurn } from './call-model.js'
import { clockOf, medianOf, moneyOf, placeOf, tookOf, whenOf } from './format.js'
import { Chip, CopyLine, Notice, OutcomeChip, SureButton } from './parts.js'
import { useRecording } from './recording.js'
import type { Player } from './recording.js'
import { T } from './strings.js'
import { Supervise } from './listen.js'
import { Transcript } from './transcript.js'
import { Waterfall } from './waterfall.js'

/** Maximum number of tries to load a record. The record is written shortly after the end of its call. */
const RECORD_TRIES_MAX = 20
const RECORD_RETRY_MS = 300
/** Duration in ms above which a recording is loaded only on request. A recording has 64 KB per second. */
const LOAD_AT_ONCE_MS = 10 * 60_000

type State =
  | { readonly type: 'loading' }
  | { readonly type: 'live' }
  | { readonly type: 'ended'; readonly call: CallModel; readonly record: CallRecord }
  | { readonly type: 'fault'; readonly message: string }

/** Page of one call, live or ended. It shows a live call until the call's end. */
export function CallPage({
  sid,
  act,
  listens,
}: {
  readonly sid: string
  readonly act: boolean
  readonly listens: boolean
}): JSX.Element {
  const [state, setState] = useState<State>({ type: 'loading' })
  const [live, setLive] = useState<CallModel | null>(null)
  const [note, setNote] = useState<string | null>(null)

  const load = async (triesLeft: number): Promise<void> => {
    try {
      const call = await getJson<CallRecord | LiveCallView>(callPath(sid))
      if (!('version' in call)) {
        // A call that has just ended has no record yet, so the page asks again.
        if (call.state !== 'ended' || triesLeft === 0) return setState({ type: 'live' })
        await new Promise((resolve) => setTimeout(resolve, RECORD_RETRY_MS))
        return await load(triesLeft - 1)
      }
      const timeline = await getJson<CallTimelineView>(callPath(sid, '/timeline'))
      setState({ type: 'ended', call: ofRecord(call, timeline), record: call })
    } catch (thrown) {
      const known = thrown instanceof Error && !/no call of that SID|no node has/.test(thrown.message)
      setState({ type: 'fault', message: known ? T.failed(thrown.message) : T.call.unknown })
    }
  }
  useEffect(() => void load(RECORD_TRIES_MAX), [sid])

  const over = (): void => {
    setNote(T.call.justEnded)
    void load(RECORD_TRIES_MAX)
  }
  const connected = useEvents(
    state.type === 'live' ? callPath(sid, '/live') : null,
    { call: (event) => setLive((before) => withEvent(before, sid, event as CallEvent)), over, unknown: over },
    ['over', 'unknown'],
  )
  const command = (name: 'hangup' | 'escalate'): void => {
    post(callPath(sid, `/${name}`)).then(
      () => setNote(name === 'hangup' ? T.call.hungUp : T.call.escalated),
      (thrown: unknown) => setNote(T.failed(messageOf(thrown))),
    )
  }
  const call = state.type === 'ended' ? state.call : state.type === 'live' ? live : null
  return (
    <article class="call">
      <div class="bar">
        <a class="button small" href="#/calls">
          ← {T.call.back}
        </a>
        <h1 class="mono">{sid}</h1>
        {call !== null && <CallChip call={call} />}
        <span class="gap" />
        {act && call?.live === true && (
          <>
            <SureButton label={T.calls.escalate} onSure={() => command('escalate')} />
            <SureButton label={T.calls.hangUp} onSure={() => command('hangup')} />
          </>
        )}
      </div>
      {act && call?.live === true && <Supervise key={sid} sid={sid} listens={listens} onNote={setNote} />}
      {note !== null && <Notice>{note}</Notice>}
      {state.type === 'live' && connected === false && <Notice kind="fault">{T.head.lost}</Notice>}
      {state.type === 'fault' && <Notice kind="fault">{state.message}</Notice>}
      {(state.type === 'loading' || (state.type === 'live' && live === null)) && <Notice>{T.loading}</Notice>}
      {call !== null && <CallBody call={call} listens={listens} />}
    </article>
  )
}

function CallChip({ call }: { readonly call: CallModel }): JSX.Element {
  const { record } = call
  if (record === null) return <Chip kind={call.state}>{T.calls.states[call.state] ?? call.state}</Chip>
  return (
    <>
      <OutcomeChip outcome={record.outcome} served={record.served} />
      <span class="muted">{T.call.ended(record.endReason)}</span>
    </>
  )
}

function CallBody({ call, listens }: { readonly call: CallModel; readonly listens: boolean }): JSX.Element {
  const recorded = call.record !== null && call.record.recording !== null
  const player = useRecording(call.sid, listens && recorded && call.durationMs <= LOAD_AT_ONCE_MS)
  const [events, setEvents] = useState(true)
  const [show, setShow] = useState<{ readonly fromMs: number; readonly toMs: number } | null>(null)
  const lines = useMemo(() => linesOf(call, events), [call, events])
  const turns = useMemo(() => turnsOf(call), [call])
  const cursorMs = player.atMs === null ? null : call.zeroMs + player.atMs
  const seek = player.recording === null ? null : (atMs: number): void => player.playFrom(atMs - call.zeroMs)
  const open = (turn: ShownTurn): void => {
    const lastMs = turn.fromMs + (turn.turn.answerMs ?? turn.turn.firstSoundMs ?? 1000)
    setShow({ fromMs: turn.fromMs - 800, toMs: lastMs + 800 })
  }
  return (
    <>
      <Summary call={call} />
      {call.record !== null && <Why sid={call.sid} />}
      {call.stages.length > 0 && (
        <Panel title={T.call.stages}>
          <Path call={call} />
        </Panel>
      )}
      <Panel
        title={T.call.timeline}
        aside={<Playback call={call} player={player} recorded={recorded} listens={listens} />}
      >
        {call.marksDropped > 0 && <p class="muted">{T.call.dropped(call.marksDropped)}</p>}
        <Waterfall call={call} recording={player.recording} cursorMs={cursorMs} onSeek={seek} show={show} />
      </Panel>
      <div class="columns">
        <Panel
          title={T.call.transcript}
          aside={
            <label class="check">
              <input type="checkbox" checked={events} onChange={(event) => setEvents(event.currentTarget.checked)} />
              {T.call.showEvents}
            </label>
          }
        >
          <Transcript call={call} lines={lines} cursorMs={cursorMs} onSeek={seek} follow={call.live} />
        </Panel>
        <div>
          <Panel title={T.call.turns}>
            <Turns turns={turns} zeroMs={call.zeroMs} onOpen={open} />
          </Panel>
          <Panel title={T.call.reasons}>
            <Reasons call={call} onSeek={seek} />
          </Panel>
          {call.record !== null && (
            <Panel title={T.call.cost}>
              <Cost record={call.record} />
            </Panel>
          )}
          <Panel title={T.call.raw}>
            <p class="links">
              <a href={callPath(call.sid, '/timeline')} target="_blank" rel="noreferrer">
                {T.call.rawTimeline}
              </a>
              <a href={callPath(call.sid)} target="_blank" rel="noreferrer">
                {T.call.rawRecord}
              </a>
              {(call.record?.escalation != null || call.record?.outcome === 'refused') && (
                <a href={callPath(call.sid, '/handoff')} target="_blank" rel="noreferrer">
                  {T.call.rawHandoff}
                </a>
              )}
            </p>
            <ReplayAsTest call={call} listens={listens} />
          </Panel>
        </div>
      </div>
    </>
  )
}

/** Explanation of an ended call. Nodes of an earlier version do not have it. */
function Why({ sid }: { readonly sid: string }): JSX.Element | null {
  const { value } = useJson<WhyView>(callPath(sid, '/why'))
  if (value === null) return null
  const { cause, turns, unusual, decisions, unheard } = value
  // A node of an earlier version does not send remarks.
  const { remarks = [] } = value as Partial<Pick<WhyView, 'remarks'>>
  const lists = [
    { heading: T.call.why.waits, texts: turns.map(({ text }) => text) },
    {
      heading: T.call.why.unusual,
      texts: [...remarks.map(({ atMs, text }) => `${tookOf(atMs)}: ${text}`), ...unusual.map(({ text }) => text)],
    },
    { heading: T.call.why.decisions, texts: decisions.map(({ atMs, text }) => `${tookOf(atMs)}: ${text}`) },
    { heading: T.call.why.unheard, texts: unheard.map(({ atMs, text }) => `${tookOf(atMs)}: ${text}`) },
  ]
  return (
    <Panel title={T.call.why.title}>
      <p>
        <b>{cause.text}</b>{' '}
        {cause.about.length > 0 && (
          <span class="muted">{T.call.why.about(cause.about.map(({ name }) => name).join(', '))}</span>
        )}
      </p>
      {lists.map(
        ({ heading, texts }) =>
          texts.length > 0 && (
            <details key={heading}>
              <summary>
                {heading} ({texts.length})
              </summary>
              <ul>
                {texts.map((text, index) => (
                  <li key={index}>{text}</li>
                ))}
              </ul>
            </details>
          ),
      )}
    </Panel>
  )
}

export function Panel(props: {
  readonly title: string
  readonly class?: string
  readonly aside?: ComponentChildren
  readonly children: ComponentChildren
}): JSX.Element {
  return (
    <section class={`card ${props.class ?? ''}`}>
      <div class="card-head">
        <h2>{props.title}</h2>
        {props.aside}
      </div>
      {props.children}
    </section>
  )
}

function Summary({ call }: { readonly call: CallModel }): JSX.Element {
  const [nowMs, setNowMs] = useState(performance.now())
  useEffect(() => {
    if (!call.live) return undefined
    const timer = setInterval(() => setNowMs(performance.now()), 1000)
    return () => clearInterval(timer)
  }, [call.live])
  const sounds = call.turns.flatMap(({ firstSoundMs }) => firstSoundMs ?? [])
  const cost = call.record === null ? null : costInShort(call.record)
  const durationMs = call.durationMs + (call.live && call.durationMs > 0 ? Math.max(0, nowMs - call.atMs) : 0)
  const facts: readonly (readonly [string, ComponentChildren])[] = [
    [T.call.summary.started, whenOf(call.startedAt)],
    [T.call.summary.duration, clockOf(durationMs)],
    [T.call.summary.agent, [call.agent, ...(call.record?.handovers ?? []).map(({ to }) => to)].join(' → ')],
    ...(call.record?.agentVersion == null
      ? []
      : [[T.call.summary.agentVersion, <span class="mono">{call.record.agentVersion}</span>] as const]),
    [T.call.summary.backend, call.backend],
    ...(call.record?.served == null
      ? []
      : [[T.call.summary.served, T.calls.served[call.record.served] ?? call.record.served] as const]),
    [T.call.summary.caller, <span class="mono">{call.from}</span>],
    [T.call.summary.turns, String(call.turns.length)],
    [T.call.summary.response, tookOf(medianOf(sounds))],
    [T.call.summary.slowest, tookOf(sounds.length === 0 ? null : Math.max(...sounds))],
    [
      T.call.summary.bargeIns,
      T.call.bargeIns(call.bargeIns.filter(({ committed }) => committed).length, call.bargeIns.length),
    ],
    [T.call.summary.tools, String(call.tools.length)],
    ...(cost === null ? [] : [[T.call.summary.cost, cost] as const]),
    ...(call.traceId === null ? [] : [[T.call.summary.trace, <span class="mono">{call.traceId}</span>] as const]),
  ]
  return (
    <dl class="facts">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  )
}

/**
 * Text about the cost of the whole call; null if no cost is recorded. If parts are unknown, the text contains the known
 * sum and the names of these parts.
 */
function costInShort({ cost, wholeCost }: CallRecord): string | null {
  const sum = wholeCost ?? cost
  if (sum === null) return null
  // Records of earlier builds contain only the models' cost, so the carrier's cost is unknown. An analysis that was not
  // requested costs nothing.
  const parts: Readonly<Record<keyof typeof T.call.costParts, Pick<CostPart, 'unknown'> | null>> = wholeCost ?? {
    carrier: { unknown: '' },
    models: cost,
    analysis: null,
  }
  const missing = (['carrier', 'models', 'analysis'] as const).filter((name) => (parts[name]?.unknown ?? null) !== null)
  const unknown = missing.map((name) => T.call.costParts[name]).join(', ')
  return amountText({ amount: missing.length === 0 ? sum.known : null, known: sum.known, unknown }, sum.currency)
}

/** Amount; if the amount is unknown, its known part and the reason. */
function amountText({ amount, known, unknown }: CostPart, currency: string): string {
  if (amount !== null) return moneyOf(amount, currency)
  const missing = T.call.unknownCost(unknown ?? '')
  return known === 0 ? missing : T.call.atLeast(moneyOf(known, currency), missing)
}

/** Stages through which the call went, with the reason of each move and the time spent in each stage. */
function Path({ call }: { readonly call: CallModel }): JSX.Element {
  const facts = new Map((call.record?.facts ?? []).map(({ name, value }) => [name, String(value)]))
  return (
    <>
      <ol class="path">
        {call.stages.map(({ stage, why, atMs, summary }, index) => {
          const untilMs = call.stages[index + 1]?.atMs ?? (call.live ? null : call.durationMs)
          return (
            <li key={index} class={call.live && index === call.stages.length - 1 ? 'now' : ''}>
              {index > 0 && <span class="muted">{T.call.moves[why]} →</span>}
              <b title={summary}>{stage}</b>
              <span class="muted">{untilMs === null ? T.call.stageNow : clockOf(Math.max(0, untilMs - atMs))}</span>
            </li>
          )
        })}
      </ol>
      {facts.size > 0 && (
        <p class="muted">{T.call.known([...facts].map(([name, value]) => `${name} = ${value}`).join(', '))}</p>
      )}
    </>
  )
}

const MB = 1024 * 1024
/** Stereo at 16 kHz. */
const RECORDING_BYTES_PER_MS = 64

function Playback(props: {
  readonly call: CallModel
  readonly player: Player
  readonly recorded: boolean
  readonly listens: boolean
}): JSX.Element {
  const { call, player, recorded, listens } = props
  if (player.fault !== null) return <span class="slow">{T.call.recordingFailed(player.fault)}</span>
  if (call.live) return <span class="muted">{T.call.recordingLive}</span>
  if (!recorded) {
    const missing = call.record?.recordingState === 'missing'
    return <span class="muted">{missing ? T.call.recordingMissing : T.call.noRecording}</span>
  }
  if (!listens) return <span class="muted">{T.call.mayNotListen}</span>
  if (player.loading) return <span class="muted">{T.call.loadingRecording}</span>
  if (player.recording === null) {
    const mb = Math.max(1, Math.round((call.durationMs * RECORDING_BYTES_PER_MS) / MB))
    return (
      <button type="button" onClick={player.load}>
        {T.call.recordingLarge(mb)}
      </button>
    )
  }
  return (
    <span class="playback">
      <button type="button" class="primary" onClick={player.toggle}>
        {player.playing ? T.call.pause : T.call.play}
      </button>
      <span class="mono">
        {placeOf(player.atMs ?? 0)} / {placeOf(player.recording.durationMs)}
      </span>
    </span>
  )
}

/** Each turn as one bar. All bars have the same scale. */
export function Turns(props: {
  readonly turns: readonly ShownTurn[]
  readonly zeroMs: number
  readonly onOpen: ((turn: ShownTurn) => void) | null
}): JSX.Element {
  const { turns, zeroMs, onOpen } = props
  if (turns.length === 0) return <p class="empty">{T.call.noTurns}</p>
  const longestMs = Math.max(1000, ...turns.map(({ turn }) => turn.answerMs ?? 0))
  return (
    <>
      <ol class="turns">
        {turns.map((one) => {
          const { index, turn, steps, fromMs } = one
          const title = `${T.call.turnSays(index + 1)} · ${placeOf(fromMs - zeroMs)}`
          return (
            <li key={index}>
              {onOpen === null ? (
                <span>{title}</span>
              ) : (
                <button type="button" class="place" onClick={() => onOpen(one)}>
                  {title}
                </button>
              )}
              <span class="turn-bar" aria-hidden="true">
                {steps.map(({ name, ms }) => (
                  <span key={name} class={`step step-${name}`} style={{ width: `${(100 * ms) / longestMs}%` }} />
                ))}
              </span>
              <span class="number" title={T.call.measured}>
                {turn.firstSoundMs === null ? T.call.turnSteps.none : tookOf(turn.firstSoundMs)}
              </span>
              <span class="muted steps">
                {steps.map(({ name, ms }) => `${T.call.turnSteps[name]} ${Math.round(ms)}`).join(' · ')}
                {turn.answerMs !== null &&
                  turn.answerMs !== turn.firstSoundMs &&
                  ` · ${T.call.answer(tookOf(turn.answerMs))}`}
                {turn.ear?.firstSoundMs != null && ` · ${T.call.ear(tookOf(turn.ear.firstSoundMs))}`}
              </span>
            </li>
          )
        })}
      </ol>
      <p class="legend" aria-hidden="true">
        {STEPS.map((name) => (
          <span key={name}>
            <i class={`step-${name}`} /> {T.call.turnSteps[name]}
          </span>
        ))}
      </p>
    </>
  )
}

function Reasons({
  call,
  onSeek,
}: {
  readonly call: CallModel
  readonly onSeek: ((atMs: number) => void) | null
}): JSX.Element {
  const { zeroMs, bargeIns } = call
  const stops = (call.record?.stops ?? []).filter(
    ({ kind, mark, why }) => kind !== 'interruption' && !isUnheard(mark, why),
  )
  if (bargeIns.length + stops.length === 0) return <p class="empty">{T.call.noReasons}</p>
  const reasons = [
    ...bargeIns.map(({ atMs, committed, why, stopMs }) => ({
      atMs: zeroMs + atMs,
      kind: committed ? T.call.committed : T.call.resumed,
      why: stopMs === null ? why : `${why}; ${T.call.stopped(tookOf(stopMs))}`,
    })),
    ...stops.map(({ atMs, kind, why }) => ({ atMs, kind: T.call.kinds[kind], why })),
  ].sort((a, b) => a.atMs - b.atMs)
  return (
    <ul class="reasons">
      {reasons.map(({ atMs, kind, why }, index) => (
        <li key={index}>
          {onSeek === null ? (
            <span class="place">{placeOf(atMs - zeroMs)}</span>
          ) : (
            <button type="button" class="place" onClick={() => onSeek(atMs)}>
              {placeOf(atMs - zeroMs)}
            </button>
          )}
          <span>
            <b>{kind}</b> {why}
          </span>
        </li>
      ))}
    </ul>
  )
}

/** Help that says how to make a test of the call, or, if journals are not stored, how to store them. */
function ReplayAsTest({ call, listens }: { readonly call: CallModel; readonly listens: boolean }): JSX.Element {
  const { value } = useJson<{ readonly settings: Readonly<Record<string, unknown>> }>('/api/settings')
  const kept = value === null ? null : value.settings['JOURNAL_CALLS'] !== 'off'
  return (
    <>
      <h3>{T.call.replay}</h3>
      {kept === false && <p class="muted">{T.call.noJournal}</p>}
      {kept === true && call.live && <p class="muted">{T.call.replayLater}</p>}
      {kept === true && !call.live && (
        <>
          <p class="muted">{T.call.replayWhy}</p>
          <CopyLine text={`npx mkondo replay ${call.sid} --cut ${testNameOf(call)}`} />
          {listens ? (
            <p class="links">
              <a href={callPath(call.sid, '/journal.jsonl')} download={`${call.sid}.jsonl`}>
                {T.call.rawJournal}
              </a>
            </p>
          ) : (
            <p class="muted">{T.call.mayNotListen}</p>
          )}
        </>
      )}
    </>
  )
}

/** Name in a form that `mkondo replay --cut` accepts. */
function testNameOf({ agent, sid }: CallModel): string {
  return `${agent}-${sid
    .slice(-6)
    .toLowerCase()
    .replace(/[^a-z0-9]/g, '')}`
}

function Cost({ record }: { readonly record: CallRecord }): JSX.Element {
  const { cost, wholeCost = null } = record
  if (cost === null && wholeCost === null) return <p class="empty">{T.call.noCost}</p>
  const parts: readonly (readonly [string, CostPart | null])[] =
    wholeCost === null
      ? []
      : [
          [T.call.wholeCost, wholeCost],
          [T.call.carrierCost[wholeCost.carrier.by], wholeCost.carrier],
          [T.call.costParts.models, cost === null ? wholeCost.models : null],
          [T.call.costParts.analysis, wholeCost.analysis],
        ]
  return (
    <ul class="reasons costs">
      {parts.map(
        ([name, part]) =>
          part !== null && (
            <li key={name}>
              <b>{amountText(part, wholeCost?.currency ?? '')}</b>
              <span>{name}</span>
            </li>
          ),
      )}
      {cost?.models.map(({ backend, model, amount, unknown, usage }, index) => (
        <li key={index}>
          <b>{amountText({ amount, known: 0, unknown }, cost.currency)}</b>
          <span>
            {backend}
            {model === null ? '' : ` · ${model}`}{' '}
            <span class="muted">
              {T.call.tokens(usage.inputTokens, usage.outputTokens)} ·{' '}
              {T.call.audio(clockOf(usage.audioInMs), clockOf(usage.audioOutMs))}
            </span>
          </span>
        </li>
      ))}
    </ul>
  )
}
