/** A table's own entry. Names come from strangers: `constructor` is a valid protocol name to multiserver-address. */
export function own<T>(table: { readonly [key: string]: T }, key: string): T | undefined {
  return Object.prototype.hasOwnProperty.call(table, key) ? table[key] : undefined
}
