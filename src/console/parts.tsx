import type { FoundView } from '../call/documents/call-view.js'
import type { ComponentChildren, JSX, TargetedSubmitEvent } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { T } from './strings.js'

/** A small label with a colour of meaning. */
export function Chip({ kind, children }: { readonly kind: string; readonly children: ComponentChildren }): JSX.Element {
  return <span class={`chip chip-${kind}`}>{children}</span>
}

const SURE_MS = 3000

/** A button for what cannot be undone: the first press asks, the second does it. */
export function SureButton(props: {
  readonly label: string
  readonly onSure: () => void
  readonly disabled?: boolean
  readonly class?: string
}): JSX.Element {
  const [asking, setAsking] = useState(false)
  useEffect(() => {
    if (!asking) return undefined
    const timer = setTimeout(() => setAsking(false), SURE_MS)
    return () => clearTimeout(timer)
  }, [asking])
  const press = (event: Event): void => {
    event.stopPropagation()
    if (asking) props.onSure()
    setAsking(!asking)
  }
  return (
    <button
      type="button"
      class={`${props.class ?? ''} ${asking ? 'danger' : ''}`}
      disabled={props.disabled}
      aria-label={asking ? `${props.label}: ${T.calls.sure}` : props.label}
      onClick={press}
      onBlur={() => setAsking(false)}
    >
      {asking ? T.calls.sure : props.label}
    </button>
  )
}

/** A text that can be copied with one press. */
export function CopyLine({ text }: { readonly text: string }): JSX.Element {
  const [copied, setCopied] = useState(false)
  const copy = (): void => {
    navigator.clipboard?.writeText(text).then(
      () => {
        setCopied(true)
        setTimeout(() => setCopied(false), 1500)
      },
      () => undefined, // the text can be selected by hand
    )
  }
  return (
    <div class="copy-line">
      <code tabIndex={0}>{text}</code>
      <button type="button" onClick={copy}>
        {copied ? T.call.copied : T.call.copy}
      </button>
    </div>
  )
}

export function Notice({
  kind = 'info',
  children,
}: {
  readonly kind?: 'info' | 'fault'
  readonly children: ComponentChildren
}): JSX.Element {
  return (
    <p class={`notice notice-${kind}`} role={kind === 'fault' ? 'alert' : 'status'}>
      {children}
    </p>
  )
}

/** Says which nodes did not answer, and that some still index: calls may be missing. */
export function MissingCalls({ nodes }: Pick<FoundView, 'nodes'>): JSX.Element {
  const silent = nodes.filter(({ answered }) => !answered).map(({ name }) => name ?? '')
  return (
    <>
      {silent.length > 0 && <Notice>{T.find.silent(silent.join(', '))}</Notice>}
      {nodes.some(({ answered, current }) => answered && !current) && <Notice>{T.find.indexing}</Notice>}
    </>
  )
}

/** Heading of a column; `wide` ones are left out on a narrow screen. */
interface Head {
  readonly name: string
  readonly class?: string | undefined
  /** It is there for screen readers alone. */
  readonly hidden?: boolean
}

/** A table that scrolls by itself; the keyboard reaches it as a region, which has a name or is named by its title. */
export function Table(props: {
  readonly class: 'calls' | 'settings'
  readonly heads: readonly (string | Head)[]
  readonly label?: string
  readonly labelledBy?: string
  readonly children: ComponentChildren
}): JSX.Element {
  const heads = props.heads.map((head): Head => (typeof head === 'string' ? { name: head } : head))
  return (
    <div class="scroller all" tabIndex={0} role="region" aria-label={props.label} aria-labelledby={props.labelledBy}>
      <table class={props.class}>
        <thead>
          <tr>
            {heads.map((head) => (
              <th key={head.name} scope="col" class={head.class}>
                {head.hidden === true ? <span class="hidden">{head.name}</span> : head.name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{props.children}</tbody>
      </table>
    </div>
  )
}

/** Placeholder for requested data: loading, or the reason of the failure. */
export function Pending({
  value,
  fault,
}: {
  readonly value: unknown
  readonly fault: string | null
}): JSX.Element | null {
  if (fault !== null) return <Notice kind="fault">{fault}</Notice>
  return value === null ? <Notice>{T.loading}</Notice> : null
}

/** Handler of a form that the page sends itself. */
export function submits(send: (form: HTMLFormElement) => void): (event: TargetedSubmitEvent<HTMLFormElement>) => void {
  return (event) => {
    event.preventDefault()
    send(event.currentTarget)
  }
}

/** The text of a form's field; empty where it has none. */
export function fieldOf(form: HTMLFormElement, name: string): string {
  const value = new FormData(form).get(name)
  return typeof value === 'string' ? value.trim() : ''
}
