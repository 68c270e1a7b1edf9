import type { KeptState } from '../call/documents/kept-call.js'
import { partyKey, sameNumber } from '../sautikit/phone.js'
import { CALL_BACKS, callBackId } from './campaign.js'
import type { Row } from './campaign.js'
import type { RowQueue } from './row-queue.js'

/** Selection of rows: the rows of a phone number, or the call back that the call with this SID promised. */
export type RowsTarget = { readonly number: string } | { readonly sid: string }

/** Erases the people in the rows of a phone number or of a call. @returns the number of erased rows */
export async function forgetRows(queue: Pick<RowQueue, 'ids' | 'change'>, target: RowsTarget): Promise<number> {
  const ids = 'sid' in target ? [CALL_BACKS] : await queue.ids()
  let forgotten = 0
  for (const id of ids)
    forgotten += await queue.change(id, (row) =>
      isAbout(row, target)
        ? {
            ...row,
            to: '',
            variables: {},
            externalId: null,
            asked: null,
            recovers: null,
            result: row.result ?? 'erased',
            tries: row.tries.map((one) => ({ ...one, callSid: null })),
          }
        : null,
    )
  return forgotten
}

/** Returns the rows of a phone number, each with its campaign. */
export async function rowsOf(queue: Pick<RowQueue, 'ids' | 'rows'>, number: string): Promise<readonly Row[]> {
  const rows: Row[] = []
  for (const id of await queue.ids())
    for (const row of await queue.rows(id)) if (isAbout(row, { number })) rows.push(row)
  return rows
}

/**
 * True if a row concerns a phone number or a call. A call back also concerns the caller who asked for it, regardless of
 * the number to call.
 */
function isAbout({ id, to, asked, recovers }: Row, target: RowsTarget): boolean {
  if (to === '') return false
  if ('sid' in target) return id === callBackId(target.sid)
  if (asked !== null && asked.by !== '' && asked.by === partyKey(target.number)) return true
  const { kept } = (recovers ?? {}) as Partial<KeptState> // from `promise`, as JSON
  const theirs = kept?.direction === 'outbound' ? kept.to : kept?.from
  return [to, theirs ?? ''].some((number) => sameNumber(number, target.number))
}
