import type { Environment } from '../agents/loader.js'

/** What agent files find as `{{env.NAME}}`: the environment, and the orders API where the settings or `--with-shop` name it. */
export function agentEnvironment(env: Environment, shopApiUrl: string | null): Environment {
  return shopApiUrl === null ? env : { ...env, SHOP_API_URL: shopApiUrl }
}
