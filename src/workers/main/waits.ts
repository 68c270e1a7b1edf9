import { LRUCache } from 'lru-cache'
import { fieldsOf } from '../../agents/tools/http-tool.js'
import type { Environment } from '../../agents/file/template.js'
import type { WaitRecord } from '../../call/documents/record.js'
import { atMost } from '../../core/at-most.js'
import { canonicalJson } from '../../core/json.js'
import type { HttpClient } from '../../http/http-client.js'
import type { Metrics } from '../../telemetry/metrics.js'
import type { WaitAnswer, WaitStatus, WaitUnheard } from './wait-status.js'

/**
 * Maximum number of outcomes of ended calls that one process remembers, because an API may post its outcome again. The
 * oldest is forgotten first.
 */
const OUTCOMES_KEPT_MAX = 10_000
const WAIT_BOUNDS = [1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 300, 600]

/** State that the waits of all calls share. */
export class Waits {
  readonly client: HttpClient
  readonly env: Environment
  readonly unheard: (news: WaitUnheard) => void
  /** Number of tool calls with an unknown outcome, in live calls and in calls whose caller has left. */
  pending = 0
  readonly seconds: ReturnType<Metrics['defineHistogram']>
  readonly posts: ReturnType<Metrics['defineCounter']>
  readonly polls: ReturnType<Metrics['defineCounter']>
  /** Outcomes of calls that are over. */
  readonly #outcomes = new LRUCache<string, Outcome>(atMost(OUTCOMES_KEPT_MAX))

  constructor(
    options: Pick<Waits, 'client' | 'env' | 'unheard'> & {
      readonly metrics: Pick<Metrics, 'defineHistogram' | 'defineCounter' | 'defineGauge'>
    },
  ) {
    const { client, env, unheard, metrics } = options
    this.client = client
    this.env = env
    this.unheard = unheard
    metrics.defineGauge('tool_waits_pending', 'Tool calls that wait for their outcome').from(() => this.pending)
    this.seconds = metrics.defineHistogram(
      'tool_wait_seconds',
      'Time from the request of a waiting tool to its outcome, or to the end of the wait if it expired',
      ['tool', 'outcome'],
      WAIT_BOUNDS,
    )
    this.posts = metrics.defineCounter('tool_continuations', 'Posts to continuation URLs, by result', ['result'])
    this.polls = metrics.defineCounter('tool_polls', 'Polls for outcomes, by result', ['result'])
    for (const result of ['taken', 'progress', 'repeated', 'conflict', 'late', 'unkept', 'dropped'])
      this.posts({ result })
    for (const result of ['outcome', 'pending', 'failed']) this.polls({ result })
  }

  /** Notes that the call of a wait is over. */
  over(id: string, outcome: Outcome): void {
    this.#outcomes.set(id, outcome)
  }

  /** Handles a post for a call that is over. */
  late(id: string, news: WaitStatus): WaitAnswer {
    const outcome = this.#outcomes.get(id)
    const answer = outcome === undefined || news.status === 'progress' ? 'late' : compared(outcome, news)
    this.posts({ result: answer }).inc()
    return answer
  }
}

/** Final outcome of a wait, in the form in which it was accepted. */
interface Outcome {
  readonly status: WaitRecord['status']
  readonly result: unknown
  /** Fields of the result that the tool's file names. */
  readonly fields: ResultShape
}

/** Fields of a tool's result that the agent's file names. */
export type ResultShape = Parameters<typeof fieldsOf>[1]

/** Compares an outcome that was posted again with the outcome that was accepted first. */
export function compared({ status, result, fields }: Outcome, news: WaitStatus): 'repeated' | 'conflict' {
  const same = status === news.status && canonicalJson(result) === canonicalJson(fieldsOf(news.result, fields))
  return same ? 'repeated' : 'conflict'
}
