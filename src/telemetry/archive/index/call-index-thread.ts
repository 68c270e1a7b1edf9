import { setDefaultAutoSelectFamilyAttemptTimeout } from 'node:net'
import { workerData } from 'node:worker_threads'
import { messageOf } from '../../../core/errors.js'
import { CONNECT_ATTEMPT_MS } from '../../../core/limits.js'
import { useCountry } from '../../../sautikit/phone.js'
import type { IndexAnswer, IndexStart, IndexTask } from './call-finder.js'
import { CallIndex } from './call-index.js'

/** The thread of the index of calls: one task at a time (`call-finder.ts`). */

/** A search indexes what is new first, for as long as this; a start after an upgrade takes longer. */
const CATCH_UP_MS = 200
/** One task of `follow`. */
const FOLLOW_MS = 50

const { dataFolders, country } = workerData as IndexStart
setDefaultAutoSelectFamilyAttemptTimeout(CONNECT_ATTEMPT_MS)
useCountry(country)
let opened: CallIndex | null = null
/** Opened by a task: a thread that fails at its start would leave the task without an answer. */
const index = (): CallIndex => (opened ??= new CallIndex(dataFolders))

/** @returns whether all is indexed; and why not, where it is a fault */
function follow(forMs: number): { readonly current: boolean; readonly fault: string | null } {
  const endMs = performance.now() + forMs
  try {
    const calls = index()
    while (calls.follow()) if (performance.now() > endMs) return { current: false, fault: null }
    return { current: true, fault: null }
  } catch (thrown) {
    return { current: false, fault: messageOf(thrown) }
  }
}

export default function run(task: IndexTask): IndexAnswer {
  switch (task.what) {
    case 'follow':
      return follow(FOLLOW_MS)
    case 'find': {
      const { current } = follow(CATCH_UP_MS)
      return { ...index().find(task.search, task.before, task.limit, task.numbers), current }
    }
    case 'chart': {
      const { current } = follow(CATCH_UP_MS)
      return { groups: index().chart(task.range, task.numbers), current }
    }
    case 'record':
      return index().record(task.callSid)
    case 'forget':
      try {
        index().forget(task.callSids)
      } catch {
        // Even a deletion takes room on the disk. Without the index, nothing is left of them.
        index().drop()
      }
      return undefined
    case 'close':
      opened?.close()
      opened = null
      return undefined
  }
}
