import { dateFormat } from '../../../core/date-format.js'
import { valueAt as fieldAt } from '../../../core/json.js'
import { bothClocks } from '../../../agents/tools/heard-arguments.js'
import { PLACEHOLDER, filtersOf, type Filter } from '../../../agents/offline/offline.js'
import type { OfflineCondition } from '../../../agents/offline/offline.js'
import { textIn, type LocalizedText } from '../../../call/spoken/localized-text.js'
import { valueFault } from '../../../call/tools/value-fault.js'

/** JSON values by name: results of tools, answers of the caller, and values that the dialogue has set. */
export type Values = Readonly<Record<string, unknown>>

/** Maximum number of elements that a `[]` of a path reads. */
const ELEMENTS_MAX = 200

/**
 * The value at `path`, which consists of fields and indices with dots between them. `[]` continues with every element
 * of a list, and the result is then a list. Undefined if there is no value. Inherited fields are ignored, so that a
 * path cannot reach a prototype.
 */
export function valueAt(values: Values, path: string): unknown {
  let found: unknown = values
  const parts = path.split('.')
  for (const [i, part] of parts.entries()) {
    const each = part.endsWith('[]')
    found = fieldAt(found, [each ? part.slice(0, -2) : part])
    if (!each) continue
    if (!Array.isArray(found)) return undefined
    const rest = parts.slice(i + 1).join('.')
    const elements: unknown[] = found.slice(0, ELEMENTS_MAX)
    if (rest === '') return elements
    return elements.flatMap((element) => {
      const inner = valueAt({ element }, `element.${rest}`)
      return inner === undefined ? [] : Array.isArray(inner) ? (inner as unknown[]) : [inner]
    })
  }
  return found
}

/** First parts of paths to values that do not come from a tool: the caller's words and the dialogue's counts. */
const OF_THE_CALL: readonly string[] = ['slots', 'heard', 'visits', 'part', 'greeting', 'failure']

/**
 * @returns the value at a path, for speech or comparison; undefined if the value has no information, such as N/A or
 * #REF!
 */
function saidAt(values: Values, path: string): unknown {
  const value = valueAt(values, path)
  const [root = ''] = path.split('.')
  if (OF_THE_CALL.includes(root)) return value
  const context = { field: (path.split('.').at(-1) ?? '').replace('[]', ''), own: ownNumber(values) }
  const says = (one: unknown): boolean => valueFault(one, context) === null
  if (Array.isArray(value)) return (value as unknown[]).filter(says)
  return says(value) ? value : undefined
}

function ownNumber(values: Values): string {
  const number = fieldAt(values['caller'], ['number'])
  return typeof number === 'string' ? number : ''
}

/** False for null, '', [] and a missing value. */
function exists(value: unknown): boolean {
  return value !== undefined && value !== null && value !== '' && !(Array.isArray(value) && value.length === 0)
}

function countOf(value: unknown): number {
  if (Array.isArray(value)) return value.length
  return typeof value === 'number' ? value : 0
}

/** A number and its text count as equal, because some APIs return order numbers as text. */
function same(value: unknown, expected: string | number | boolean | null): boolean {
  if (value === undefined || value === null) return expected === null
  if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean') return false
  return String(value) === String(expected)
}

export function holds(condition: OfflineCondition, values: Values): boolean {
  if ('exists' in condition) return exists(saidAt(values, condition.exists))
  if ('equals' in condition) return same(valueAt(values, condition.equals[0]), condition.equals[1])
  if ('oneOf' in condition) {
    const value = valueAt(values, condition.oneOf[0])
    return condition.oneOf[1].some((expected) => same(value, expected))
  }
  if ('count' in condition) return countOf(valueAt(values, condition.count[0])) === condition.count[1]
  if ('atLeast' in condition) return countOf(valueAt(values, condition.atLeast[0])) >= condition.atLeast[1]
  if ('not' in condition) return !holds(condition.not, values)
  if ('all' in condition) return condition.all.every((one) => holds(one, values))
  return condition.any.some((one) => holds(one, values))
}

/** @returns the elements of the list at `from` whose field equals one of the wanted values; [] if there is no list */
export function picked(
  values: Values,
  from: string,
  where: Readonly<Record<string, readonly (string | number | boolean | null)[]>>,
): unknown[] {
  const list = valueAt(values, from)
  if (!Array.isArray(list)) return []
  return list
    .slice(0, ELEMENTS_MAX)
    .filter((element: unknown) =>
      Object.entries(where).every(([field, wanted]) =>
        wanted.some((expected) => same(valueAt({ element }, `element.${field}`), expected)),
      ),
    )
}

type Maps = Readonly<Record<string, Readonly<Record<string, LocalizedText>>>>

/** Maximum number of list elements that are spoken. */
const LISTED_MAX = 6

/**
 * Fills `{{path | filter | …}}` with values; a missing value becomes an empty text. Filters:
 * - `map:name`: words from a table. If the table does not contain the value, the value itself is used, with spaces
 * instead of underscores
 * - `list`, `list:or`: "a, b and c"
 * - `count`; `spell` (letters and digits one by one); `default:words`
 * - `day` (adds the weekday to a date); `clocks` (a time in Swahili and in English)
 * @param language language of the words of maps and days
 * @returns the text; null if `strict` is true and a value does not exist and has no default
 */
export function fill(template: string, values: Values, maps: Maps, language: string, strict = false): string | null {
  let missing = false
  const text = template.replace(PLACEHOLDER, (_whole, path: string, filters: string) => {
    const [first, ...others] = filtersOf(filters)
    // A table may contain words for values without information, such as `none`.
    let value = first === undefined ? saidAt(values, path) : mappedAt(values, path, first, maps, language)
    for (const filter of others) value = filtered(value, filter, maps, language)
    if (!exists(value)) missing = true
    return textOf(value)
  })
  if (strict && missing) return null
  return text
    .replace(/\s+([.,!?])/g, '$1')
    .replace(/\s{2,}/g, ' ')
    .trim()
}

function mappedAt(values: Values, path: string, filter: Filter, maps: Maps, language: string): unknown {
  const key = textOf(valueAt(values, path))
  const map = filter.name === 'map' ? maps[filter.argument] : undefined
  const isMapped = map !== undefined && Object.hasOwn(map, key)
  return filtered(isMapped ? key : saidAt(values, path), filter, maps, language)
}

function filtered(value: unknown, { name, argument }: Filter, maps: Maps, language: string): unknown {
  switch (name) {
    case 'map': {
      const key = textOf(value)
      const map = maps[argument]
      return map !== undefined && Object.hasOwn(map, key) ? textIn(map[key] ?? '', language) : key.replaceAll('_', ' ')
    }
    case 'list':
      return Array.isArray(value) ? listed(value, argument === '' ? 'and' : argument) : value
    case 'count':
      return countOf(value)
    case 'spell':
      return [...textOf(value)].filter((c) => /[\p{L}\p{N}]/u.test(c)).join(' ')
    case 'default':
      return exists(value) ? value : argument
    case 'day':
      return dayText(textOf(value), language)
    case 'clocks':
      return textOf(value).replace(/^(\d\d):(\d\d)$/, (_, hours, minutes) =>
        bothClocks(Number(hours) * 60 + Number(minutes)),
      )
    default:
      return value
  }
}

/** @returns `Friday, 27 November` for `2026-11-27`; any other text is returned unchanged */
function dayText(value: string, language: string): string {
  if (!/^\d{4}-\d\d-\d\d$/.test(value)) return value
  const locale = language === '' || /^en$/i.test(language) ? 'en-GB' : language
  const format = (options: Intl.DateTimeFormatOptions): string =>
    dateFormat(locale, { timeZone: 'UTC', ...options }).format(Date.parse(value))
  return `${format({ weekday: 'long' })}, ${format({ day: 'numeric', month: 'long' })}`
}

function listed(list: readonly unknown[], word: string): string {
  const texts = list.slice(0, LISTED_MAX).map(textOf)
  const last = texts.pop()
  if (last === undefined) return ''
  return texts.length === 0 ? last : `${texts.join(', ')} ${word} ${last}`
}

function textOf(value: unknown): string {
  if (typeof value === 'string') return value
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  return Array.isArray(value) ? listed(value, 'and') : ''
}
