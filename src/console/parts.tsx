import type { FoundView } from '../call/documents/call-view.js'
import type { ComponentChildren, JSX, TargetedSubmitEvent } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { T } from './strings.js'

/** Small label. Its colour shows its meaning. */
export function Chip({ kind, children }: { readonly kind: string; readonly children: ComponentChildren }): JSX.Element {
  return <span class={`chip chip-${kind}`}>{children}</span>
}

/** Results of a contained call that count as success, as in the charts. Calls of earlier builds have no result. */
const GOT: readonly unknown[] = ['answered', 'done', 'human', null, undefined]

/** Outcome of an ended call. A contained call is green only if its caller was served. */
export function OutcomeChip(props: {
  readonly outcome: string | undefined
  readonly served: string | null | undefined
}): JSX.Element {
  const { outcome = 'ended', served } = props
  const kind = outcome === 'contained' && !GOT.includes(served) ? 'unserved' : outcome
  return <Chip kind={kind}>{T.calls.outcomes[outcome] ?? outcome}</Chip>
}

const SURE_MS = 3000

/**
 * Button for an action that cannot be undone. The first press asks for confirmation; the second press runs the action.
 */
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

/** A text that one press copies. */
export function CopyLine({ text }: { readonly text: string }): JSX.Element {
  const [copied, setCopied] = useState(false)
  const copy = (): void => {
    navigator.clipboard?.writeText(text).then(
      () => {
        setCopied(true)
        setTimeout(() => setCopied(false), 1500)
      },
      () => undefined, // without the clipboard, the user can still select and copy the text
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

/** Notices about calls that may be missing: the nodes that did not answer, and whether nodes are still indexing. */
export function MissingCalls({ nodes }: Pick<FoundView, 'nodes'>): JSX.Element {
  const silent = nodes.filter(({ answered }) => !answered).map(({ name }) => name ?? '')
  return (
    <>
      {silent.length > 0 && <Notice>{T.find.silent(silent.join(', '))}</Notice>}
      {nodes.some(({ answered, current }) => answered && !current) && <Notice>{T.find.indexing}</Notice>}
    </>
  )
}

/** Heading of a column. Columns with the class `wide` are hidden on a narrow screen. */
interface Head {
  readonly name: string
  readonly class?: string | undefined
  /** True for a heading that only screen readers see. */
  readonly hidden?: boolean
}

/**
 * Table with its own scrolling. The keyboard reaches it as a region, named by `label` or by the element `labelledBy`.
 */
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

/** Placeholder while data is loading, or the reason why it could not be loaded. */
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

/** Handler of a form's `submit` event: the page sends the form, and the browser does not. */
export function submits(send: (form: HTMLFormElement) => void): (event: TargetedSubmitEvent<HTMLFormElement>) => void {
  return (event) => {
    event.preventDefault()
    send(event.currentTarget)
  }
}

/** Text of a form's field; empty if the form does not have the field. */
export function fieldOf(form: HTMLFormElement, name: string): string {
  const value = new FormData(form).get(name)
  return typeof value === 'string' ? value.trim() : ''
}
