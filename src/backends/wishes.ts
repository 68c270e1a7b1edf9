import type { VendorFault } from './transport/vendor-fault.js'

/**
 * Other names that services use for a field in their refusals: the name of a part of the field, or another service's
 * name for the field.
 */
const ALSO_NAMED: Readonly<Record<string, readonly string[]>> = {
  speed: ['speakingRate', 'prosodyRate'],
  thinkingConfig: ['thinkingLevel', 'thinkingBudget'],
}

/** Words that may precede the name of a field in a refusal. */
const KIND = '(?:parameter|field|option|argument|property|value of|value for)'

/**
 * Maximum number of repeated requests after a field was left out. Requests that were sent with the field before that
 * are refused too.
 */
const UNDER_WAY_MAX = 2

/**
 * True if `text` contains the field's name. `speakingRate` may be written as `speaking_rate` or `speaking rate`. A name
 * of one word may be an ordinary word of the text. So it counts only in quotes, brackets or a path, before a colon or
 * an equals sign, as the subject of a sentence, or after words such as `parameter`.
 */
function isNamed(field: string, text: string): boolean {
  return [field, ...(ALSO_NAMED[field] ?? [])].some((name) => {
    const words = name.replace(/([a-z])([A-Z])/g, '$1_$2').split('_')
    const word = `(?<![a-z\\d_])${words.join('[_ .-]?')}(?![a-z\\d_])`
    const exact = [
      `["'\`([.]${word}`,
      `${word}(?:["'\`)\\]:=[]|\\.\\w)`,
      `(?:^|[:.;] )${word} (?:is|are) `,
      `${KIND} ${word}`,
    ]
    return new RegExp(words.length > 1 ? word : exact.join('|'), 'i').test(text)
  })
}

/**
 * Optional fields of the requests to one service, in one call. If the service refuses a field, the request is repeated
 * without the field, and later requests omit the field. If a refusal does not name a field, the next request contains
 * only fields that the service has accepted before. If the service refuses that request too, the other fields were not
 * the reason.
 */
export class Wishes {
  // The maps stay small, because names of fields are constants in the code.
  /**
   * Sent values, by field, that are neither refused nor accepted yet. `at`: number of the first request with the value.
   * `last`: true if other fields are suspected first.
   */
  readonly #sent = new Map<string, { readonly at: number; readonly value: string; readonly last: boolean }>()
  /** Value that the service has accepted, by field. */
  readonly #proven = new Map<string, string>()
  /** Number of the first request without the field, by omitted field. */
  readonly #refused = new Map<string, number>()
  /** Omitted fields for which no request without the field has succeeded yet. */
  readonly #untold = new Set<string>()
  /** Omitted fields that a refusal did not name, so that they are only suspected. */
  readonly #suspected = new Set<string>()
  #asked = 0
  /** Number of requests that were repeated because of a field that was left out before. */
  #underWay = 0
  readonly #told: (field: string) => void

  /** @param told  called once for each refused field, after the service has accepted a request without the field */
  constructor(told: (field: string) => void = () => undefined) {
    this.#told = told
  }

  /** Number of requests so far. With this number, a later report shows which fields a request may have contained. */
  get asked(): number {
    return this.#asked
  }

  /**
   * @param last  true if other fields are suspected first, when a refusal does not name a field
   * @returns the request's fields without undefined and refused fields
   */
  of<Fields extends object>(
    fields: Fields,
    last = false,
  ): { [Name in keyof Fields]?: Exclude<Fields[Name], undefined> } {
    const kept = Object.entries(fields).filter(([name, value]) => value !== undefined && !this.#refused.has(name))
    const at = ++this.#asked
    for (const [name, given] of kept) {
      const value = JSON.stringify(given)
      if (this.#proven.get(name) !== value && this.#sent.get(name)?.value !== value)
        this.#sent.set(name, { at, value, last })
    }
    return Object.fromEntries(kept) as { [Name in keyof Fields]?: Exclude<Fields[Name], undefined> }
  }

  /** True if requests omit this field, also if the field is only suspected. */
  leavesOut(field: string): boolean {
    return this.#refused.has(field)
  }

  /** True if it is certain that the service does not accept this field. */
  lacks(field: string): boolean {
    return this.#refused.has(field) && !this.#untold.has(field)
  }

  /** Omits the field from the start, because the service does not have the field. */
  never(field: string): void {
    this.#refused.set(field, 0)
  }

  /**
   * Records a successful request.
   * @param asked  number of the request. Default: the newest request. If the request was sent before a refusal, its
   * success does not show that the refused field was the cause
   */
  worked(asked = this.#asked): void {
    for (const field of this.#untold) {
      if (asked < (this.#refused.get(field) ?? 0)) continue
      this.#untold.delete(field)
      this.#suspected.delete(field)
      this.#told(field)
    }
    for (const [field, { at, value }] of this.#sent) {
      if (asked < at) continue
      this.#sent.delete(field)
      this.#proven.set(field, value)
    }
  }

  /**
   * Omits the fields that a fault is about.
   * @param suspects  true if a fault that does not name a field may be about any field
   * @param asked number of the refused request, as for `worked`
   * @returns true if the request must be repeated
   */
  refuses({ code, message }: VendorFault, suspects = true, asked = this.#asked): boolean {
    if (code !== 'bad_request') return false
    const named = [...new Set([...this.#sent.keys(), ...this.#proven.keys()])].filter((field) =>
      isNamed(field, message),
    )
    if (named.length > 0) {
      this.#leaveOut(named)
      return true
    }
    // Repeated refusals are found by the field's name, because ids and counts in their texts differ.
    const again = [...this.#refused].some(
      ([field, at]) => (suspects && asked < at) || (!this.#suspected.has(field) && isNamed(field, message)),
    )
    if (again && this.#underWay < UNDER_WAY_MAX) {
      this.#underWay++
      return true
    }
    if (!suspects) return false
    const first = [...this.#sent].filter(([, { last }]) => !last)
    const blamed = (first.length > 0 ? first : [...this.#sent]).map(([field]) => field)
    if (blamed.length > 0) {
      this.#leaveOut(blamed)
      for (const field of blamed) this.#suspected.add(field)
      return true
    }
    for (const field of this.#suspected) {
      this.#refused.delete(field)
      this.#untold.delete(field)
    }
    this.#suspected.clear()
    return false
  }

  #leaveOut(fields: readonly string[]): void {
    const at = ++this.#asked
    this.#underWay = 0
    for (const field of fields) {
      this.#sent.delete(field)
      this.#proven.delete(field)
      this.#refused.set(field, at)
      this.#untold.add(field)
    }
  }
}
