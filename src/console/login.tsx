import type { JSX } from 'preact'
import { useState } from 'preact/hooks'
import { ApiFault, post } from './api.js'
import { Notice, fieldOf, submits } from './parts.js'
import { T } from './strings.js'

const RIGHTS = [
  ['read', T.login.read, T.login.readMore],
  ['act', T.login.act, T.login.actMore],
  ['listen', T.login.listen, T.login.listenMore],
] as const

export function Login({ onIn }: { readonly onIn: () => void }): JSX.Element {
  const [fault, setFault] = useState<string | null>(null)
  const [waiting, setWaiting] = useState(false)
  const submit = (form: HTMLFormElement): void => {
    setWaiting(true)
    post('/api/login', { token: fieldOf(form, 'token'), rights: fieldOf(form, 'rights') })
      .then(onIn, (thrown: unknown) => setFault(wordsOf(thrown)))
      .finally(() => setWaiting(false))
  }
  return (
    <main class="alone">
      <form class="card login" onSubmit={submits(submit)}>
        <h1>{T.login.title}</h1>
        <p>{T.login.why}</p>
        {fault !== null && <Notice kind="fault">{fault}</Notice>}
        <label>
          {T.login.token}
          <input name="token" type="password" autocomplete="current-password" required autofocus />
        </label>
        <fieldset>
          <legend>{T.login.rights}</legend>
          {RIGHTS.map(([name, title, more]) => (
            <label key={name} class="choice">
              <input type="radio" name="rights" value={name} defaultChecked={name === 'read'} />
              <span>
                {title} <span class="muted">{more}</span>
              </span>
            </label>
          ))}
        </fieldset>
        <button class="primary" disabled={waiting}>
          {T.login.submit}
        </button>
      </form>
    </main>
  )
}

function wordsOf(thrown: unknown): string {
  const status = thrown instanceof ApiFault ? thrown.status : 0
  return status === 401 || status === 403 || status === 400
    ? T.login.wrong
    : status === 429
      ? T.login.slow
      : T.login.failed
}
