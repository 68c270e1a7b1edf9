/** Errors of what the operator gave us end with exit code 2, everything else with 1. */
export const USAGE_CODES: ReadonlySet<string> = new Set([
  'CONFIG_INVALID', 'AGENT_INVALID', 'AGENT_UNKNOWN', 'BACKEND_KEY_MISSING', 'PORT_IN_USE', 'SCRIPT_INVALID', 'WAV_INVALID', 'JOURNAL_INVALID',
])
