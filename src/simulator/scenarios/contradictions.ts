import { spokenWords } from '../spoken-words.js'
import { needsSound, type ScenarioFile } from './scenario-schema.js'

/** Something in a scenario that cannot be, where it stands. */
export interface Contradiction {
  readonly path: readonly PropertyKey[]
  readonly what: string
}

/** Everything in a scenario that could never hold together: better said before the call than learnt from it. */
export function contradictionsIn(scenario: ScenarioFile): Contradiction[] {
  return [...inTheCaller(scenario), ...inTheMode(scenario), ...inTheTools(scenario), ...inTheWords(scenario), ...inTheOutcome(scenario), ...inTheFigures(scenario)]
}

function inTheCaller({ caller }: ScenarioFile): Contradiction[] {
  const found: Contradiction[] = []
  if (caller.steps.length + caller.rules.length === 0) {
    found.push({ path: ['caller'], what: 'caller has neither steps nor rules; a caller who says nothing has the step wait' })
  }
  const end = caller.steps.findIndex((step) => step.hangup === true)
  if (end >= 0 && end < caller.steps.length - 1) found.push({ path: ['caller', 'steps', end + 1], what: `caller.steps[${end + 1}] comes after a hangup and is never reached` })
  for (const [index, step] of caller.steps.entries()) {
    if (step.interruptAfterMs !== undefined && step.heard !== undefined) {
      found.push({ path: ['caller', 'steps', index, 'heard'], what: `caller.steps[${index}] interrupts, and so cannot wait for what is heard in the whole turn; use one of heard, interruptAfterMs` })
    }
  }
  return found
}

function inTheMode(scenario: ScenarioFile): Contradiction[] {
  if (scenario.mode === 'text' && needsSound(scenario)) {
    return [{ path: ['mode'], what: 'mode is text, but noise, a faulty line, ignoreKill or a played recording need mode audio' }]
  }
  if (scenario.at !== undefined && (scenario.mode === 'audio' || needsSound(scenario))) {
    return [{ path: ['at'], what: 'at sets the calendar, which only mode text can' }]
  }
  return []
}

function inTheTools({ expect }: ScenarioFile): Contradiction[] {
  const found: Contradiction[] = []
  const forbidden = new Set(expect.notCalled.flatMap((one) => {
    if (typeof one === 'string') return [one]
    return Object.keys(one.with).length === 0 ? [one.tool] : []
  }))
  for (const [index, { tool, times }] of expect.called.entries()) {
    const least = typeof times === 'number' ? times : times.min ?? 0
    if (forbidden.has(tool) && least > 0) found.push({ path: ['expect', 'called', index], what: `expect.called[${index}]: ${tool} is also under notCalled` })
  }
  return found
}

function inTheWords({ expect }: ScenarioFile): Contradiction[] {
  const listed = (given: string | readonly string[] | undefined): readonly string[] => (given === undefined ? [] : typeof given === 'string' ? [given] : given)
  const plain = (text: string): string => (text.startsWith('/') ? text : spokenWords(text).join(' '))
  const never = listed(expect.neverSaid).filter((text) => !text.startsWith('/')).map(plain)
  return listed(expect.said).flatMap((text, index) => {
    const clash = text.startsWith('/') ? undefined : never.find((one) => ` ${plain(text)} `.includes(` ${one} `))
    return clash === undefined ? [] : [{ path: ['expect', 'said', index], what: `expect.said[${index}] holds words that neverSaid forbids: "${clash}"` }]
  })
}

function inTheOutcome({ expect }: ScenarioFile): Contradiction[] {
  const outcomes = expect.outcome === undefined ? [] : typeof expect.outcome === 'string' ? [expect.outcome] : expect.outcome
  const wants = expect.escalated !== undefined && expect.escalated !== false
  const found: Contradiction[] = []
  if (expect.escalated === false && outcomes.length > 0 && outcomes.every((outcome) => outcome === 'escalated')) {
    found.push({ path: ['expect', 'escalated'], what: 'expect.escalated is false, but the outcome is escalated' })
  }
  if (wants && outcomes.length > 0 && outcomes.every((outcome) => outcome === 'deflected')) {
    found.push({ path: ['expect', 'outcome'], what: 'expect.outcome is deflected, which a call that asked for a human never is' })
  }
  const calls = expect.called.findIndex((one) => one.tool === 'escalate_to_human' && one.times !== 0)
  if (expect.escalated === false && calls >= 0) {
    found.push({ path: ['expect', 'called', calls], what: 'expect.escalated is false, but escalate_to_human has to be called' })
  }
  return found
}

function inTheFigures({ expect, timeoutS }: ScenarioFile): Contradiction[] {
  const ranges = [
    [['expect', 'turns'], expect.turns], [['expect', 'bargeIns'], expect.bargeIns],
    ...expect.called.map((one, index) => [['expect', 'called', index, 'times'], one.times] as const),
  ] as const
  const found: Contradiction[] = ranges.flatMap(([path, range]) => (
    typeof range === 'object' && range.min !== undefined && range.max !== undefined && range.min > range.max
      ? [{ path, what: `min is ${range.min} and max is ${range.max}` }] : []))
  const { call } = expect.withinMs
  if (call !== undefined && call > timeoutS * 1000) {
    found.push({ path: ['expect', 'withinMs', 'call'], what: `expect.withinMs.call is ${call}, but the call is ended after timeoutS: ${timeoutS}` })
  }
  return found
}
