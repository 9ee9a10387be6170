/** The plugin `dashboard`: serves the live page while it is asked to. */
export const plugin = {
  name: 'dashboard',
  version: '1.0.0',
  manifest: {},
  permissions: { anonymous: { allow: [] as string[] } },
  init: (): object => ({}),
}
