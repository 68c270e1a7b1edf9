import { setDefaultAutoSelectFamilyAttemptTimeout } from 'node:net'
import { workerData } from 'node:worker_threads'
import { messageOf } from '../../../core/errors.js'
import { CONNECT_ATTEMPT_MS } from '../../../core/limits.js'
import { useCountry } from '../../../sautikit/phone.js'
import type { IndexAnswer, IndexStart, IndexTask } from './call-finder.js'
import { CallIndex } from './call-index.js'

/** Thread of the index of calls. It does one task at a time (`call-finder.ts`). */

/** Maximum time in ms that a search spends on indexing new records first. After an upgrade, indexing takes longer. */
const CATCH_UP_MS = 200
/** Maximum time in ms of one task of `follow`. */
const FOLLOW_MS = 50

const { dataFolders, country } = workerData as IndexStart
setDefaultAutoSelectFamilyAttemptTimeout(CONNECT_ATTEMPT_MS)
useCountry(country)
let opened: CallIndex | null = null
/**
 * Opens the index at its first use, inside a task. If the thread opened it at its start and failed, the task would not
 * get an answer.
 */
const index = (): CallIndex => (opened ??= new CallIndex(dataFolders))

/** @returns `current`: true if all records are indexed; `fault`: the reason why some records are not indexed */
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
    case 'usual':
      return index().usual(task.agent, task.beforeMs)
    case 'record':
      return index().record(task.callSid)
    case 'forget':
      try {
        index().forget(task.callSids)
      } catch {
        // On a full disk, calls cannot be deleted from the index. Then the whole index is deleted, which erases the
        // calls too.
        index().drop()
      }
      return undefined
    case 'close':
      opened?.close()
      opened = null
      return undefined
  }
}
