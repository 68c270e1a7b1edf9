import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../../src/config/package-root.js'
import { BOARDS } from '../../grafana/boards.js'

/** A dashboard as far as the tests look at it. */
interface BoardJson {
  readonly uid: string
  readonly title: string
  readonly templating: {
    readonly list: readonly { readonly name: string; readonly type: string; readonly query?: unknown }[]
  }
  readonly links: readonly { readonly type: string; readonly url?: string }[]
  readonly panels: readonly PanelJson[]
}

interface PanelJson {
  readonly id: number
  readonly type: string
  readonly title: string
  readonly description?: string
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
  readonly datasource?: { readonly uid?: string }
  readonly fieldConfig?: { readonly defaults?: { readonly unit?: string } }
  readonly options?: { readonly content?: string }
  readonly targets?: readonly TargetJson[]
}

interface TargetJson {
  readonly expr: string
  readonly instant?: boolean
  readonly exemplar?: boolean
  readonly refId: string
  readonly datasource?: { readonly uid?: string }
}

/** The committed files. */
export const boards: readonly { readonly file: string; readonly text: string; readonly board: BoardJson }[] =
  Object.keys(BOARDS).map((file) => {
    const text = readFileSync(join(packageRoot(), 'grafana', 'dashboards', file), 'utf8')
    return { file, text, board: JSON.parse(text) as BoardJson }
  })

const FORMATS: Readonly<Record<string, (value: string) => string>> = {
  '': (value) => value,
  raw: (value) => value,
  text: (value) => value,
  percentencode: encodeURIComponent,
  // As Grafana writes it: a backslash before each quote, and nothing else.
  doublequote: (value) => `"${value.replaceAll('"', '\\"')}"`,
}

/** A query with its variables filled in; throws for one that the dashboard does not define. */
export function filled(text: string, variables: Readonly<Record<string, string>>): string {
  return text.replace(
    /\$\{(\w+)(?::(\w+))?\}|\$(\w+)/g,
    (_, braced: string | undefined, format: string | undefined, plain: string | undefined) => {
      const name = braced ?? plain ?? ''
      const value = variables[name]
      if (value === undefined) throw new Error(`nothing defines the variable ${name} in: ${text}`)
      const write = FORMATS[format ?? '']
      if (write === undefined) throw new Error(`no format ${format ?? ''} is known in: ${text}`)
      return write(value)
    },
  )
}
