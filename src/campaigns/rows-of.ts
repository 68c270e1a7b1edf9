import type { KeptState } from '../call/documents/kept-call.js'
import { partyKey, sameNumber } from '../sautikit/phone.js'
import { CALL_BACKS, callBackId } from './campaign.js'
import type { Row } from './campaign.js'
import type { RowQueue } from './row-queue.js'

/** Rows of a number, or the call back that the call of this SID promised. */
export type RowsTarget = { readonly number: string } | { readonly sid: string }

/** Forgets whom the rows of a number, or of a call, are about. @returns how many there were */
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

/** The rows of a number, each with its campaign. */
export async function rowsOf(queue: Pick<RowQueue, 'ids' | 'rows'>, number: string): Promise<readonly Row[]> {
  const rows: Row[] = []
  for (const id of await queue.ids())
    for (const row of await queue.rows(id)) if (isAbout(row, { number })) rows.push(row)
  return rows
}

/** A call back is also about who asked for it, whichever number they left. */
function isAbout({ id, to, asked, recovers }: Row, target: RowsTarget): boolean {
  if (to === '') return false
  if ('sid' in target) return id === callBackId(target.sid)
  if (asked !== null && asked.by !== '' && asked.by === partyKey(target.number)) return true
  const { kept } = (recovers ?? {}) as Partial<KeptState> // from `promise`, as JSON
  const theirs = kept?.direction === 'outbound' ? kept.to : kept?.from
  return [to, theirs ?? ''].some((number) => sameNumber(number, target.number))
}
