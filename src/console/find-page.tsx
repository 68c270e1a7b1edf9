import type { FoundView } from '../call/documents/call-view.js'
import type { JSX } from 'preact'
import { useState } from 'preact/hooks'
import { ApiFault, getJson, messageOf } from './api.js'
import { EndedTable } from './calls-page.js'
import { MissingCalls, Notice, submits } from './parts.js'
import { T } from './strings.js'

const DATES = ['from', 'to']
const AMOUNTS = ['minCost', 'maxCost']
const CHOICES = [
  { name: 'outcome', label: T.find.outcome, words: T.calls.outcomes },
  { name: 'served', label: T.find.served, words: T.calls.served },
]

/** Search for ended calls of any time by their data. A call must match all conditions. */
export function FindPage(): JSX.Element {
  const [query, setQuery] = useState('')
  const [found, setFound] = useState<FoundView | null>(null)
  const [fault, setFault] = useState<string | null>(null)
  const [asking, setAsking] = useState(false)
  const ask = (asked: string, before: FoundView | null, cursor: string): void => {
    setAsking(true)
    getJson<FoundView>(`/api/find?${asked}&cursor=${encodeURIComponent(cursor)}`)
      .then(
        (page) => {
          setFound({ ...page, calls: [...(before?.calls ?? []), ...page.calls] })
          setFault(null)
        },
        (thrown: unknown) =>
          setFault(thrown instanceof ApiFault && thrown.status === 404 ? T.find.noKept : T.failed(messageOf(thrown))),
      )
      .finally(() => setAsking(false))
  }
  const submit = (form: HTMLFormElement): void => {
    const asked = [...new FormData(form)]
      .flatMap(([name, value]) =>
        typeof value === 'string' && value !== '' ? [`${name}=${encodeURIComponent(value)}`] : [],
      )
      .join('&')
    setQuery(asked)
    ask(asked, null, '')
  }
  return (
    <section aria-labelledby="find-title">
      <div class="bar">
        <h1 id="find-title">{T.find.title}</h1>
        {found !== null && (
          <span class="muted" role="status">
            {T.find.found(found.calls.length, found.cursor !== null)}
          </span>
        )}
      </div>
      <form class="find" onSubmit={submits(submit)}>
        {Object.entries(T.find.fields).map(([name, label]) => (
          <label key={name}>
            {label}
            {DATES.includes(name) ? (
              <input name={name} type="date" />
            ) : AMOUNTS.includes(name) ? (
              <input name={name} type="number" min={0} step="any" />
            ) : (
              <input name={name} type="text" maxLength={200} autocomplete="off" />
            )}
          </label>
        ))}
        {CHOICES.map(({ name, label, words }) => (
          <label key={name}>
            {label}
            <select name={name}>
              <option value="">{T.find.anyOutcome}</option>
              {Object.entries(words).map(([value, text]) => (
                <option key={value} value={value}>
                  {text}
                </option>
              ))}
            </select>
          </label>
        ))}
        <button type="submit" disabled={asking}>
          {T.find.submit}
        </button>
      </form>
      {fault !== null && <Notice kind="fault">{fault}</Notice>}
      <MissingCalls nodes={found?.nodes ?? []} />
      {found?.alike === true && <Notice>{T.find.alike}</Notice>}
      {found !== null && found.calls.length === 0 && <p class="empty">{T.find.none}</p>}
      {found !== null && found.calls.length > 0 && <EndedTable calls={found.calls} labelledBy="find-title" />}
      {found !== null && found.cursor !== null && (
        <button type="button" disabled={asking} onClick={() => ask(query, found, found.cursor ?? '')}>
          {T.find.older}
        </button>
      )}
    </section>
  )
}
