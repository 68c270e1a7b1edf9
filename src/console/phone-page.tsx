import type { CallEvent } from '../call/documents/call-view.js'
import type { Session } from '../edge/ops/ops-session.js'
import type { JSX } from 'preact'
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { callPath, useEvents } from './api.js'
import { isDecision, linesOf, turnsOf, withEvent } from './call-model.js'
import type { CallModel } from './call-model.js'
import { Panel, Turns } from './call-page.js'
import { placeOf } from './format.js'
import { Notice, fieldOf, submits } from './parts.js'
import type { TriedDraft } from './editor-page.js'
import { PhoneLine } from './phone-line.js'
import type { MicrophoneFault } from './phone-line.js'
import { T, markWords } from './strings.js'
import { Transcript } from './transcript.js'

const NUMBER_DEFAULT = '+254700000001'
const KEYS = ['1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '0', '#']
const EVENTS_MAX = 100

type Phase = 'idle' | 'asking' | 'connecting' | 'talking'

/** Call that was placed from this page. */
interface OwnCall {
  readonly sid: string
  /** True when the gateway has the call, because it has answered the call's webhook. */
  readonly known: boolean
  readonly over: string | null
}

/** State of this page's call, and the functions that change it. */
function usePhone(
  usable: boolean,
  visible: boolean,
  tried: TriedDraft | null,
  level: (who: 'you' | 'them', level: number) => void,
) {
  const [phase, setPhase] = useState<Phase>('idle')
  const [call, setCall] = useState<OwnCall | null>(null)
  const [model, setModel] = useState<CallModel | null>(null)
  const [carrier, setCarrier] = useState<readonly string[]>([])
  const [notice, setNotice] = useState<string | null>(null)
  const [microphone, setMicrophone] = useState<MicrophoneFault | null>(null)
  const [lost, setLost] = useState(false)
  const [muted, setMuted] = useState(false)
  const line = useRef<PhoneLine | null>(null)
  const wanted = useRef(false)
  const [used, setUsed] = useState(visible)
  useEffect(() => {
    if (visible) setUsed(true)
  }, [visible])

  const over = (why: string): void => {
    wanted.current = false
    line.current?.closeSound()
    level('you', 0)
    level('them', 0)
    setPhase('idle')
    setCall((before) => before && { ...before, over: before.over ?? why })
  }
  const tell = (text: string): void => setCarrier((before) => [...before, text].slice(-EVENTS_MAX))
  const onNews = (news: Readonly<Record<string, unknown>>): void => {
    const text = (key: string): string => (typeof news[key] === 'string' ? news[key] : '')
    switch (news['type']) {
      case 'placed':
        setCall({ sid: text('callSid'), known: false, over: null })
        setModel(null)
        break
      case 'refused':
        setNotice(T.phone.refused(text('message')))
        if (wanted.current) over(text('message'))
        break
      case 'webhook':
        setCall((before) => before && { ...before, known: before.known || news['status'] === 200 })
        break
      case 'stream-opened':
        setPhase('talking')
        break
      case 'verb':
        if (news['name'] === 'Say') tell(T.phone.carrierSays(text('text')))
        break
      case 'dialled':
        tell(T.phone.dialled(text('outcome')))
        break
      case 'ended':
        over(text('why'))
        break
      case 'over':
        for (const complaint of (news['complaints'] as readonly string[] | undefined) ?? [])
          tell(T.phone.complaint(complaint))
        over('')
        break
    }
  }
  const latest = useRef(onNews)
  latest.current = onNews
  useEffect(() => {
    if (!usable || !used) return undefined
    let before = false
    const opened = new PhoneLine({
      news: (news) => latest.current(news),
      connected: (connected) => {
        setLost(!connected)
        if (!connected && wanted.current) over(T.phone.socketLost)
        else if (connected && before) setNotice(T.phone.reconnected)
        before = true
      },
      level,
    })
    line.current = opened
    return () => opened.close()
  }, [usable, used])

  useEvents(
    call !== null && call.known ? callPath(call.sid, '/live') : null,
    {
      call: (event) => setModel((before) => withEvent(before, call?.sid ?? '', event as CallEvent)),
      over: () => undefined,
      unknown: () => undefined,
    },
    ['over', 'unknown'],
  )

  const place = async (form: HTMLFormElement, withMicrophone: boolean): Promise<void> => {
    // The form is read before the state changes, because the fields are disabled during a call, and a form's data lacks
    // disabled fields.
    const whom = tried === null ? { agent: fieldOf(form, 'agent') } : { agent: tried.agent, draft: tried.id }
    const order = { type: 'call', ...whom, from: fieldOf(form, 'from') }
    const headphones = fieldOf(form, 'headphones') !== ''
    setNotice(null)
    setCarrier([])
    setPhase('asking')
    wanted.current = true
    const fault = (await line.current?.openSound({ microphone: withMicrophone, headphones })) ?? null
    setMicrophone(withMicrophone ? fault : null)
    if (fault !== null) {
      wanted.current = false
      line.current?.closeSound()
      return setPhase('idle')
    }
    setPhase('connecting')
    line.current?.send(order)
  }
  const mute = (): void => {
    if (line.current !== null) line.current.muted = !muted
    setMuted(!muted)
  }
  const send = (order: Readonly<Record<string, unknown>>): void => line.current?.send(order)
  return { phase, call, model, carrier, notice, microphone, lost, muted, place, mute, send }
}

export function PhonePage({
  session,
  visible,
  tried,
}: {
  readonly session: Session
  readonly visible: boolean
  /** Draft that calls from this page use; null to use the current version. */
  readonly tried: TriedDraft | null
}): JSX.Element {
  const meters = { you: useRef<HTMLMeterElement>(null), them: useRef<HTMLMeterElement>(null) }
  const usable = session.rights !== 'read' && session.phone === true
  const phone = usePhone(usable, visible, tried, (who, level) => {
    const meter = meters[who].current
    if (meter !== null) meter.value = level
  })
  const { phase, call, model, carrier, notice, microphone, lost, muted, place, mute, send } = phone
  /** Call in which the user has typed. */
  const [typedIn, setTypedIn] = useState<string | null>(null)
  if (!usable)
    return (
      <Panel title={T.phone.title}>
        <Notice>{session.rights !== 'read' ? T.phone.noPhone : T.phone.readOnly}</Notice>
      </Panel>
    )
  const busy = phase !== 'idle'
  const isMissed =
    phase === 'talking' && typedIn !== call?.sid && model?.marks.some(({ name }) => name === 'not-understood') === true
  return (
    <div class="columns phone">
      <div>
        <Panel title={T.phone.title} class="dial">
          <p class="muted">{T.phone.intro}</p>
          <Dialler
            agents={tried === null ? (session.agents ?? []) : [tried.agent]}
            phase={phase}
            disabled={lost}
            onCall={(form, withMicrophone) => void place(form, withMicrophone)}
            onHangUp={() => send({ type: 'hang-up' })}
          />
          <p class="status" role="status">
            {statusOf(phase, call)}
          </p>
          {microphone !== null && <Notice kind="fault">{wordsOf(microphone)}</Notice>}
          {notice !== null && <Notice>{notice}</Notice>}
          {lost && !busy && <Notice kind="fault">{T.phone.cannotReach}</Notice>}
          <div class="meters">
            {(['you', 'them'] as const).map((who) => (
              <label key={who}>
                {T.phone[who]}
                <meter ref={meters[who]} min={0} max={1} value={0} aria-label={T.phone.level(T.phone[who])} />
              </label>
            ))}
            <button type="button" disabled={!busy} aria-pressed={muted} onClick={mute}>
              {muted ? T.phone.unmute : T.phone.mute}
            </button>
          </div>
          <fieldset class="keypad" disabled={phase !== 'talking'}>
            <legend>{T.phone.keypad}</legend>
            {KEYS.map((key) => (
              <button
                key={key}
                type="button"
                aria-label={T.phone.key(key)}
                onClick={() => send({ type: 'press', keys: key })}
              >
                {key}
              </button>
            ))}
          </fieldset>
          {isMissed && (
            <Notice>
              {model?.backend === 'embedded' ? T.phone.missedEmbedded : T.phone.missed}{' '}
              <button type="button" class="small" onClick={() => document.getElementById(TYPE_ID)?.focus()}>
                {T.phone.type}
              </button>
            </Notice>
          )}
          <TypeInstead
            disabled={phase !== 'talking'}
            onSay={(text) => {
              setTypedIn(call?.sid ?? null)
              send({ type: 'say', text })
            }}
          />
          {call?.over != null && (
            <a class="button" href={`#/calls/${call.sid}`}>
              {T.phone.openCall}
            </a>
          )}
        </Panel>
        <Panel title={T.phone.latency} class="latency">
          <Turns turns={model === null ? [] : turnsOf(model)} zeroMs={model?.zeroMs ?? 0} onOpen={null} />
        </Panel>
      </div>
      <div>
        <Panel title={T.call.transcript}>
          {model === null ? <p class="empty">{T.call.noWords}</p> : <LiveTranscript model={model} />}
        </Panel>
        <Panel title={T.phone.decisions}>
          <Decisions model={model} carrier={carrier} />
        </Panel>
      </div>
    </div>
  )
}

function statusOf(phase: Phase, call: OwnCall | null): string {
  if (phase === 'asking') return T.phone.asking
  if (phase === 'connecting') return T.phone.connecting
  if (phase === 'talking') return T.phone.talking(call?.sid ?? '')
  return call?.over == null ? T.phone.idle : T.phone.ended(call.over)
}

function wordsOf(fault: MicrophoneFault): string {
  if (fault === 'insecure') return T.phone.insecure(location.port || '80')
  if (typeof fault === 'string') return T.phone[fault]
  return T.phone.otherFault(fault.other)
}

function Dialler(props: {
  readonly agents: readonly string[]
  readonly phase: Phase
  readonly disabled: boolean
  readonly onCall: (form: HTMLFormElement, withMicrophone: boolean) => void
  readonly onHangUp: () => void
}): JSX.Element {
  const { agents, phase, disabled, onCall, onHangUp } = props
  const busy = phase !== 'idle'
  const form = useRef<HTMLFormElement>(null)
  if (agents.length === 0) return <Notice>{T.phone.noAgents}</Notice>
  return (
    <form class="dialler" ref={form} onSubmit={submits((sent) => onCall(sent, true))}>
      <label>
        {T.phone.agent}
        <select name="agent" disabled={busy}>
          {agents.map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      </label>
      <label>
        {T.phone.number}
        <input
          name="from"
          type="tel"
          defaultValue={NUMBER_DEFAULT}
          pattern="\+?[0-9]{3,15}"
          required
          disabled={busy}
          aria-describedby="number-hint"
        />
      </label>
      <p class="muted" id="number-hint">
        {T.phone.numberHint}
      </p>
      <label class="check">
        <input type="checkbox" name="headphones" disabled={busy} /> {T.phone.headphones}
      </label>
      {busy ? (
        <button type="button" class="danger big" onClick={onHangUp}>
          {T.phone.hangUp}
        </button>
      ) : (
        <>
          <button class="primary big" disabled={disabled}>
            {T.phone.call}
          </button>
          <button
            type="button"
            class="plain"
            disabled={disabled}
            onClick={() => {
              if (form.current?.reportValidity() === true) onCall(form.current, false)
            }}
          >
            {T.phone.withoutMicrophone}
          </button>
        </>
      )}
    </form>
  )
}

const TEXT_CHARS_MAX = 300
const TYPE_ID = 'type-instead'

function TypeInstead({
  disabled,
  onSay,
}: {
  readonly disabled: boolean
  readonly onSay: (text: string) => void
}): JSX.Element {
  const [text, setText] = useState('')
  const submit = (): void => {
    if (text.trim() !== '') onSay(text.trim())
    setText('')
  }
  return (
    <form class="type" onSubmit={submits(submit)}>
      <label for={TYPE_ID}>
        {T.phone.type}: {T.phone.typeHint}
      </label>
      <input
        id={TYPE_ID}
        autocomplete="off"
        maxLength={TEXT_CHARS_MAX}
        value={text}
        disabled={disabled}
        onInput={(event) => setText(event.currentTarget.value)}
      />
      <button disabled={disabled || text.trim() === ''}>{T.phone.send}</button>
    </form>
  )
}

function LiveTranscript({ model }: { readonly model: CallModel }): JSX.Element {
  const lines = useMemo(() => linesOf(model, false), [model])
  return <Transcript call={model} lines={lines} cursorMs={null} onSeek={null} follow />
}

/** The gateway's decisions about sounds, newest first, and the carrier's actions. */
function Decisions({
  model,
  carrier,
}: {
  readonly model: CallModel | null
  readonly carrier: readonly string[]
}): JSX.Element {
  const marks = (model?.marks ?? []).filter(isDecision).slice(-EVENTS_MAX)
  if (marks.length + carrier.length === 0) return <p class="empty">{T.phone.noDecisions}</p>
  return (
    <ul class="reasons" aria-live="polite">
      {carrier.map((text, index) => (
        <li key={`carrier${index}`}>
          <span class="place">{T.phone.carrier}</span>
          <span>{text}</span>
        </li>
      ))}
      {[...marks].reverse().map(({ name, atMs, detail }, index) => (
        <li key={marks.length - index}>
          <span class="place">{placeOf(atMs - (model?.zeroMs ?? 0))}</span>
          <span>
            <b>{markWords(name)}</b> <span class="muted">{detail}</span>
          </span>
        </li>
      ))}
    </ul>
  )
}
