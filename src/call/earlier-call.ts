import { hasFields } from '../core/json.js'
import type { EarlierPart, ProofNeeded } from './documents/checkpoint.js'
import type { CallLogRecords, LoggedToolCall } from './documents/log-entry.js'
import { ownerOf } from './owner.js'
import type { Identity } from './owner.js'
import { VERIFY_TOOL } from './tools/gateway-tools.js'

/** Proof of the person on the line, in the present call. */
interface ProofGiven {
  /** Null before the person is verified. */
  readonly identity: Identity | null
  /** True if the agent can verify callers. */
  readonly verifies: boolean
}

/** The one rule for every fact that moves from one call to another: true if the person on the line may hear it. */
export function mayTell(needed: ProofNeeded, { identity, verifies }: ProofGiven): boolean {
  if (identity === null) return needed.needs === 'word' && !verifies
  return needed.needs !== 'owner' || needed.owner === ownerOf(identity)
}

/** State of the earlier call, as far as it tells who was verified there. */
interface EarlierState {
  readonly identity: Identity | null
  /** Part of a call before the earlier call; absent if the earlier call was the first. */
  readonly earlier?: EarlierPart
}

/**
 * Describes the whole log of a call as the earlier part of a new call.
 * @param atOwnNumber  false: the new call is to another number, so nobody there may hear anything
 */
export function earlierPart(log: CallLogRecords, { identity, earlier }: EarlierState, atOwnNumber = true): EarlierPart {
  return { entries: entriesOf(log), proof: atOwnNumber ? proofIn(log, identity, earlier?.proof) : NOBODY }
}

const NOBODY: ProofNeeded = { needs: 'owner', owner: null }

function proofIn({ toolCalls }: CallLogRecords, identity: Identity | null, before?: ProofNeeded): ProofNeeded {
  const own: ProofNeeded | undefined = identity === null ? undefined : { needs: 'owner', owner: ownerOf(identity) }
  const [first, second] = [before, own].filter((proof) => proof?.needs === 'owner')
  // If two persons were verified, neither may hear the facts of the other.
  if (first !== undefined && second !== undefined && first.owner !== second.owner) return NOBODY
  if (first !== undefined) return first
  const tries = toolCalls.filter(({ record: { name } }) => name === VERIFY_TOOL)
  // An agent that verifies in another way may have taken the call since.
  if (tries.some(isProof)) return NOBODY
  return before?.needs === 'proof' || tries.length > 0 ? { needs: 'proof' } : { needs: 'word' }
}

function isProof({ record, result }: LoggedToolCall): boolean {
  return record.ok && !hasFields(result, { verified: false })
}

function entriesOf(log: CallLogRecords): EarlierPart['entries'] {
  const { dropped } = log
  const names = Object.keys(dropped) as (keyof typeof dropped)[]
  return Object.fromEntries(names.map((name) => [name, dropped[name] + log[name].length])) as EarlierPart['entries']
}

/** Log of the earlier call, without the entries that this log has dropped; null: there was no earlier call. */
export function logBefore(log: CallLogRecords, part: EarlierPart | null): CallLogRecords | null {
  return part === null ? null : cut(log, part, (list, at) => list.slice(0, at))
}

/** Log of the present call alone. */
export function logSince(log: CallLogRecords, part: EarlierPart | null): CallLogRecords {
  return part === null ? log : cut(log, part, (list, at) => list.slice(at))
}

function cut(
  log: CallLogRecords,
  { entries }: EarlierPart,
  slice: (list: readonly unknown[], at: number) => readonly unknown[],
): CallLogRecords {
  const { dropped } = log
  const names = Object.keys(entries) as (keyof typeof entries)[]
  const lists = names.map((name) => [name, slice(log[name], Math.max(0, entries[name] - dropped[name]))])
  return { ...(Object.fromEntries(lists) as Omit<CallLogRecords, 'dropped'>), dropped }
}

/** Earlier part of a kept call. Earlier builds kept no such part: then the whole log of a call back is the part. */
export function earlierIn(
  { callBack, earlier }: { readonly callBack?: 'asks' | 'confirmed'; readonly earlier?: EarlierPart },
  log: CallLogRecords,
): EarlierPart | null {
  return earlier ?? (callBack === 'asks' ? earlierPart(log, { identity: null }) : null)
}

/** Log of a kept call, without the entries that the person on the line may not hear. */
export function toldLog(checkpoint: Parameters<typeof earlierIn>[0], log: CallLogRecords): CallLogRecords {
  return checkpoint.callBack === 'asks' ? logSince(log, earlierIn(checkpoint, log)) : log
}
