import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

/**
 * Faults and former rules of earlier versions that become visible in a fleet of two versions, by name. For each there
 * is a text that the sources contain since the fault was corrected. If a version has the text but still shows the
 * fault, the version is at fault.
 */
const MENDED = {
  /** A planned move counts as a lost node. */
  'moves-count': 'CALL_PARTS_MAX',
  /** A repeated order for a dead node counts as ringing, even while another node has the person on the line. */
  'repeated-order-rings': 'async unreached(',
  /** A node that is stopping hangs up a call if the next node has taken the call but answered late. */
  'late-move-hangs-up': '=== undefined ? null : held(webhook)',
  /** If a node opened a call and another node then has the call, the first node still answers for it. */
  'answers-for-others': 'readonly onElsewhere:',
  /** If a node has placed a call, this call is opened by two nodes. */
  'opens-twice': 'placed(webhook)',
  /** The record of a lost call does not contain the outcomes of the call's waits. */
  'lost-without-waits': 'waitRecords(kept.waits)',
  /**
   * A node that is stopping refuses a new call because Redis answers its claim late, although another node would accept
   * the call.
   */
  'refuses-without-store': '#openUnclaimed(',
  /** A wait is stored up to a second after its request. If the node is killed in this second, the wait is lost. */
  'wait-kept-late': 'async intended(message',
  /** Receivers do not get `call.started` for a call whose first node died while the carrier was connecting. */
  'started-untold': 'isFirst = this.#of.stream.openedMs === null',
  /** The carrier's webhooks after the end of a placed call open the call again, at any node. */
  'reopens-ended': "isTerminal(webhook.state) || how === 'known'",
  /**
   * The node that takes over a dead node's calls hangs up people whom the dead node had rung, even if they already talk
   * to an agent.
   */
  'hangs-up-rung': 'async #isOthers(',
  /**
   * A tool with an effect runs although the store has not accepted the tool's intent. Another node then runs the tool
   * again.
   */
  'acts-unstored': 'INTENT_AGAIN_MS',
  /**
   * The node that recovers a dead node's call makes the call's record, even if another node has a record. That other
   * node did not reach the store at the end of the call.
   */
  'lost-unasked': "endReason === 'process-died' ? 1 : LEFT_CALL_LOOKS_MAX",
} as const
export type OldFault = keyof typeof MENDED

/**
 * @param folder  a checkout
 * @returns the faults that this version still has
 */
export function faultsOf(folder: string): ReadonlySet<OldFault> {
  const sources = readdirSync(join(folder, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .map((path) => readFileSync(join(folder, 'src', path), 'utf8'))
  const faults = Object.entries(MENDED) as [OldFault, string][]
  return new Set(faults.filter(([, text]) => !sources.some((source) => source.includes(text))).map(([fault]) => fault))
}
