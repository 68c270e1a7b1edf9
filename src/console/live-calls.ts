import type { CallsEvent, FleetRow, NodeHead } from '../call/documents/call-view.js'
import { useRef, useState } from 'preact/hooks'
import { useEvents } from './api.js'

/** A live call, or a call that has just ended and still has its position in a list. */
export interface LiveRow extends FleetRow {
  /** Time on this browser's clock at which the call's stream opened; null before the stream opened. */
  readonly sinceMs: number | null
}

export interface LiveCalls {
  /** Null before the first answer. */
  readonly connected: boolean | null
  readonly rows: ReadonlyMap<string, LiveRow>
  /** Calls that left the list recently, in their last state. The newest 500 are kept. */
  readonly left: ReadonlyMap<string, LiveRow>
  /** Number of changes so far. A component compares it, because `rows` and `left` are changed in place. */
  readonly version: number
  /** Number of calls that have left the list. */
  readonly leftCount: number
  readonly node: NodeHead | null
  readonly silent: readonly string[]
}

const LEFT_MAX = 500

/** The live calls of all nodes, from the gateway's server-sent events. */
export function useLiveCalls(): LiveCalls {
  const rows = useRef(new Map<string, LiveRow>()).current
  const left = useRef(new Map<string, LiveRow>()).current
  const [state, setState] = useState<Pick<LiveCalls, 'version' | 'leftCount' | 'node' | 'silent'>>({
    version: 0,
    leftCount: 0,
    node: null,
    silent: [],
  })
  const connected = useEvents('/api/live', {
    calls: (data) => {
      const { whole, rows: changed, gone, node, silent } = data as CallsEvent
      const leaving = whole === true ? without(rows, changed) : gone
      for (const sid of leaving) leave(sid, rows, left)
      const nowMs = performance.now()
      for (const row of changed) {
        const sinceMs = row.durationMs > 0 ? nowMs - row.durationMs : null
        rows.set(row.callSid, { ...row, sinceMs: rows.get(row.callSid)?.sinceMs ?? sinceMs })
      }
      setState(({ version, leftCount }) => ({
        version: version + 1,
        leftCount: leftCount + leaving.length,
        node,
        silent,
      }))
    },
  })
  return { connected, rows, left, ...state }
}

function without(rows: ReadonlyMap<string, LiveRow>, those: readonly FleetRow[]): string[] {
  const sids = new Set(those.map(({ callSid }) => callSid))
  return [...rows.keys()].filter((sid) => !sids.has(sid))
}

function leave(sid: string, rows: Map<string, LiveRow>, left: Map<string, LiveRow>): void {
  const row = rows.get(sid)
  rows.delete(sid)
  if (row === undefined) return
  left.set(sid, { ...row, state: 'ended' })
  if (left.size > LEFT_MAX) left.delete(left.keys().next().value as string) // it is not empty
}
