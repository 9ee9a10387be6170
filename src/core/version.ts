/** Of the package, for recordings: they say with which version they can be replayed. As in package.json, which a test compares. */
export const VERSION = '1.0.0'
