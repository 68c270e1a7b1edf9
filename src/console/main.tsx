import type { Session } from '../edge/ops/ops-session.js'
import { render } from 'preact'
import type { JSX } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { AgentsPage } from './agents-page.js'
import { ApiFault, getJson, post, whenSessionIsOver } from './api.js'
import { CallPage } from './call-page.js'
import { CampaignsPage } from './campaigns-page.js'
import { ChartsPage } from './charts-page.js'
import { CallsPage } from './calls-page.js'
import { EditorPage } from './editor-page.js'
import type { TriedDraft } from './editor-page.js'
import { FindPage } from './find-page.js'
import { useLiveCalls } from './live-calls.js'
import type { LiveCalls } from './live-calls.js'
import { Login } from './login.js'
import { FleetPage, SettingsPage } from './node-pages.js'
import { Notice } from './parts.js'
import { PhonePage } from './phone-page.js'
import { T } from './strings.js'
import './style.css'

const PAGES = [
  ['calls', T.nav.calls],
  ['find', T.nav.find],
  ['charts', T.nav.charts],
  ['campaigns', T.nav.campaigns],
  ['phone', T.nav.phone],
  ['agents', T.nav.agents],
  ['fleet', T.nav.fleet],
  ['settings', T.nav.settings],
] as const

const RETRY_MS = 1500

function App(): JSX.Element {
  const [session, setSession] = useState<Session | 'unreachable' | null>(null)
  const [asked, setAsked] = useState(0)
  useEffect(() => {
    whenSessionIsOver(() => setAsked((n) => n + 1))
    let timer = 0
    const ask = (): void => {
      getJson<Session>('/api/session').then(setSession, (thrown: unknown) => {
        // The page shows the reason if the gateway refuses the request, for example because of a wrong Host.
        if (thrown instanceof ApiFault && thrown.status !== 0) document.body.textContent = thrown.message
        setSession('unreachable')
        timer = window.setTimeout(ask, RETRY_MS)
      })
    }
    ask()
    return () => window.clearTimeout(timer)
  }, [asked])
  if (session === null || session === 'unreachable')
    return (
      <main class="alone">
        <Notice>{session === null ? T.loading : T.unreachable}</Notice>
      </main>
    )
  if (session.rights === null) return <Login onIn={() => setAsked((n) => n + 1)} />
  return <Console session={session} onOut={() => setAsked((n) => n + 1)} />
}

function useHash(): string {
  const [hash, setHash] = useState(location.hash)
  useEffect(() => {
    const changed = (): void => setHash(location.hash)
    addEventListener('hashchange', changed)
    return () => removeEventListener('hashchange', changed)
  }, [])
  return hash
}

function Console({ session, onOut }: { readonly session: Session; readonly onOut: () => void }): JSX.Element {
  const [, page = 'calls', sid = ''] = useHash().split('/')
  const live = useLiveCalls()
  const [draft, setDraft] = useState<TriedDraft | null>(null)
  const act = session.rights !== 'read'
  const edits = page === 'edit' && sid !== '' && act && session.edit === true
  const shown = edits ? 'agents' : PAGES.some(([name]) => name === page) ? page : 'calls'
  const file = edits ? decodeURIComponent(sid) : ''
  // The draft that the softphone calls, if the editor shows the draft's file.
  const tried = draft !== null && draft.file === file ? draft : null
  const phoneShown = shown === 'phone' || tried !== null
  const nav = useRef<HTMLElement>(null)
  useEffect(() => {
    document.title = `${PAGES.find(([name]) => name === shown)?.[1] ?? ''} · ${T.product}`
    // Scrolls the navigation bar to the current page, because the bar may be wider than a narrow screen.
    const toCurrent = (): void => {
      const bar = nav.current
      const current = bar?.querySelector<HTMLElement>('[aria-current]') ?? null
      if (bar !== null && current !== null)
        bar.scrollLeft = current.offsetLeft - bar.offsetLeft - (bar.clientWidth - current.clientWidth) / 2
    }
    toCurrent()
    addEventListener('resize', toCurrent)
    return () => removeEventListener('resize', toCurrent)
  }, [shown])
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => focusMain(event)}>
        {T.skip}
      </a>
      <header class="top">
        <a class="brand" href="#/calls">
          <img src="/icon.svg" alt="" width="20" height="20" />
          {T.product}
        </a>
        <nav ref={nav} aria-label={T.nav.label}>
          {PAGES.map(([name, title]) => (
            <a key={name} href={`#/${name}`} aria-current={shown === name ? 'page' : undefined}>
              {title}
            </a>
          ))}
        </nav>
        <HeadState live={live} readOnly={!act} />
        <ThemeSelect />
        {session.login && (
          <button type="button" onClick={() => void post('/api/logout').then(onOut, onOut)}>
            {T.head.logOut}
          </button>
        )}
      </header>
      {live.connected === false && <Notice kind="fault">{T.head.lost}</Notice>}
      {live.silent.length > 0 && <Notice>{T.head.silent(live.silent.join(', '))}</Notice>}
      <main id="main" tabIndex={-1}>
        {edits && <EditorPage key={file} file={file} tried={tried} onTry={setDraft} />}
        {/* The softphone and its call stay active while other pages are shown. */}
        <div hidden={!phoneShown}>
          <PhonePage session={session} visible={phoneShown} tried={tried} />
        </div>
        {shown === 'agents' && !edits && (
          <AgentsPage name={decodeURIComponent(sid)} act={act} edits={act && session.edit === true} />
        )}
        {shown === 'find' && <FindPage />}
        {shown === 'charts' && <ChartsPage />}
        {shown === 'campaigns' && <CampaignsPage act={act} agents={session.agents ?? []} />}
        {shown === 'fleet' && <FleetPage act={act} />}
        {shown === 'settings' && <SettingsPage />}
        {shown === 'calls' && sid === '' && <CallsPage live={live} act={act} />}
        {shown === 'calls' && sid !== '' && (
          <CallPage key={sid} sid={decodeURIComponent(sid)} act={act} listens={session.rights === 'listen'} />
        )}
      </main>
    </>
  )
}

/**
 * Moves the focus to the main part. A link to this part would leave the page, because the router uses the page's
 * address.
 */
function focusMain(event: Event): void {
  event.preventDefault()
  document.getElementById('main')?.focus()
}

function HeadState({ live, readOnly }: { readonly live: LiveCalls; readonly readOnly: boolean }): JSX.Element {
  const { node } = live
  return (
    <span class="head-state">
      <span class={`dot ${live.connected === true ? 'dot-on' : 'dot-off'}`} aria-hidden="true" />
      {node !== null && T.head.live(live.rows.size, node.free)}
      {node !== null && node.notReady !== null && <span class="warn">{T.head.notReady(node.notReady)}</span>}
      {readOnly && <span class="muted">{T.head.readOnly}</span>}
    </span>
  )
}

const THEMES = ['auto', 'light', 'dark'] as const

function ThemeSelect(): JSX.Element {
  const [theme, setTheme] = useState(readTheme())
  useEffect(() => {
    if (theme === 'auto') delete document.documentElement.dataset['theme']
    else document.documentElement.dataset['theme'] = theme
    try {
      localStorage.setItem('mkondo-theme', theme)
    } catch {
      // without the browser's storage, the choice is valid until the page is closed
    }
    dispatchEvent(new Event('mkondo-theme'))
  }, [theme])
  return (
    <select
      class="theme"
      aria-label={T.theme.label}
      value={theme}
      onChange={(event) => setTheme(event.currentTarget.value as (typeof THEMES)[number])}
    >
      {THEMES.map((name) => (
        <option key={name} value={name}>
          {T.theme[name]}
        </option>
      ))}
    </select>
  )
}

function readTheme(): (typeof THEMES)[number] {
  try {
    const kept = localStorage.getItem('mkondo-theme')
    return THEMES.find((name) => name === kept) ?? 'auto'
  } catch {
    return 'auto'
  }
}

const root = document.getElementById('app')
if (root !== null) render(<App />, root)
