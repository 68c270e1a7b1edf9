import { toolSchema } from '../../src/agents/tools/tool-definition.js'

/** A tool of the API at the variable `API`, at the path of its name. @param http  its `http:` block, but for the usual address */
export const httpTool = (name: string, http: object, more: object = {}) =>
  toolSchema.parse({
    name,
    description: name,
    parameters: { properties: { order: { type: 'integer' } } },
    http: { url: `{{env.API}}/${name}`, ...http },
    ...more,
  })
