import { z } from 'zod'
import { languages } from '../../vendors/common-options.js'
import { REALTIME, REALTIME_OPTIONS, SERVICES, SERVICE_OPTIONS } from '../../vendors/list.js'
import type { PartName } from '../../vendors/vendor.js'
import { isOwnBackend } from './own-backends.js'
import { faultIn } from './faults.js'

/** Names of a cascade's parts in descriptions. */
const PART_NAMES = { stt: 'Speech recogniser', llm: 'Language model', tts: 'Voice' } as const

const IS_MODULE = /^module:\S{1,300}$/

/** Default service of each part: the service whose address is configured in the gateway's settings. */
const USUAL_SERVICE = { stt: 'whisper', llm: 'chat', tts: 'speech' } as const

/** Schema of one part: the name of a service, a service with options, or a list of services. */
function partOf<Part extends PartName>(part: Part) {
  const services = SERVICES[part]
  const names = [...services.keys(), 'module:SPECIFIER'].join(', ')
  const service = z
    .string()
    .refine((name) => services.has(name) || IS_MODULE.test(name), { error: `must be one of ${names}` })
  const options = z
    .strictObject({
      service: service
        .exactOptional()
        .meta({ examples: [...services.keys()] })
        .describe(`Name of the service in docs/VENDORS.md, or module:SPECIFIER. Default: ${USUAL_SERVICE[part]}.`),
      options: z.record(z.string(), z.unknown()).exactOptional().describe('Options for a module. Default: none.'),
      ...SERVICE_OPTIONS[part],
    })
    .superRefine((given, context) => {
      const fault = faultIn(context)
      const { service: name = USUAL_SERVICE[part], ...own } = given as { readonly service?: string }
      const known = services.get(name)
      const has = known === undefined ? ['options'] : Object.keys(known.options)
      const { dictionary } = own as { readonly dictionary?: { readonly version?: string } }
      const versioned = known?.versionedDictionary === true
      if (dictionary !== undefined && has.includes('dictionary') && (dictionary.version !== undefined) !== versioned)
        fault(
          ['dictionary'],
          versioned
            ? `lacks version, which ${name} requires`
            : `has a version, but dictionaries of ${name} have no versions; leave it out`,
        )
      for (const key of Object.keys(own))
        if (!has.includes(key))
          fault([key], `is not an option of ${name}; its options: ${has.length === 0 ? 'none' : has.join(', ')}`)
    })
  return z
    .union([
      service,
      options,
      z
        .array(z.union([service, options]))
        .min(1)
        .max(5),
    ])
    .exactOptional()
    .describe(
      `${PART_NAMES[part]}: a service, or a list of services. If a service of the list fails, the next one takes over (docs/CASCADE.md). Default: from the settings.`,
    )
}

const cascade = z.strictObject({
  stt: partOf('stt'),
  llm: partOf('llm'),
  tts: partOf('tts'),
  languages: languages(/^[a-z]{2}$/, 'sw'),
  speculate: z
    .boolean()
    .exactOptional()
    .describe('Asks the language model as soon as the words have not changed for 200 ms. Default: true.'),
  artefacts: z
    .array(z.string().max(200))
    .max(100)
    .exactOptional()
    .describe(
      'Texts that the recogniser writes for noise, in addition to the built-in list. They are not answered. Default: none.',
    ),
})

/**
 * Schema of a language model, as in `backends.cascade.llm`. If the model is not used in the cascade, only the first
 * entry of a list counts.
 */
export const languageModelOptions = cascade.shape.llm

const WITH_OPTIONS: readonly string[] = [...REALTIME.keys(), 'cascade']

const known = z.object({
  ...REALTIME_OPTIONS,
  cascade: cascade.exactOptional().describe('Options of a cascade (docs/CASCADE.md).'),
})
// `undefined` is allowed, because programs that are compiled without exactOptionalPropertyTypes may pass it for the keys
// above.
const ofModule = z.record(z.string(), z.unknown()).optional()

/**
 * Types by key. A key of `Known` has only its own type. If the key also had the type of the index signature, it would
 * accept any option.
 */
type WithModules<Known> = {
  [Name in keyof (Known & Record<string, unknown>)]: Name extends keyof Known ? Known[Name] : z.output<typeof ofModule>
}

/** The `backends:` block of an agent: options of the backends that it uses, by name. */
export const backendOptionsSchema: z.ZodType<
  WithModules<z.output<typeof known>>,
  WithModules<z.input<typeof known>>
> = known.catchall(ofModule)

/**
 * Returns the fault of a key in the `backends:` block, if the key does not name a backend with options; null if the key
 * is correct.
 */
export function strangeOptions(name: string, agent: Parameters<typeof isOwnBackend>[1]): string | null {
  if (WITH_OPTIONS.includes(name) || isOwnBackend(name, agent)) return null
  return `${name} has no options; allowed: ${WITH_OPTIONS.join(', ')}, or the name of a module that the agent lists`
}

type CascadeOptions = z.output<typeof cascade>
type Entry<Part extends PartName> = Exclude<Extract<NonNullable<CascadeOptions[Part]>, object>, readonly unknown[]>

/** Returns the services that an agent lists for a part, in order; null if the agent has no such list. */
export function serviceEntries<Part extends PartName>(
  part: Part,
  options: CascadeOptions,
): readonly (Entry<Part> & { readonly service: string })[] | null {
  const given = options[part]
  if (given === undefined) return null
  return [given].flat().map((entry) => {
    const own: { readonly service?: string } = typeof entry === 'string' ? { service: entry } : entry
    return { service: USUAL_SERVICE[part], ...own } as Entry<Part> & { readonly service: string }
  })
}

/** Options of an agent's backends, by name. A module's options are passed to the module without changes. */
export type BackendOptions = z.output<typeof backendOptionsSchema>
