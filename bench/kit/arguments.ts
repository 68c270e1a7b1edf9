import { parseArgs, type ParseArgsConfig } from 'node:util'
import { messageOf } from '../../src/core/errors.js'

type Options = NonNullable<ParseArgsConfig['options']>
type Values<O extends Options> = ReturnType<typeof parseArgs<{ options: O }>>['values']

/**
 * The options of one bench, and `--help`, which prints its text.
 * @returns their values, or the exit code where there is nothing to measure: 0 after the help, 2 for wrong options
 */
export function benchArguments<const O extends Options>(
  argv: readonly string[],
  help: string,
  options: O,
): Values<O> | number {
  try {
    const { values } = parseArgs({ args: [...argv], options: { ...options, help: { type: 'boolean', short: 'h' } } })
    if ((values as { readonly help?: boolean }).help !== true) return values
  } catch (thrown) {
    console.error(`bench: ${messageOf(thrown)}`)
    return 2
  }
  console.log(help)
  return 0
}
