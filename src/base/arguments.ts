/** What a value is, without what is in it: that may be somebody's secret. */
export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value)
  if (Array.isArray(value)) return 'an array'
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`
}

/** The error for an argument of a type that a type checker would have refused. */
export function misuse(argument: string, expected: string, value: unknown): TypeError {
  return new TypeError(`${argument}: ${expected} is expected, not ${kindOf(value)}`)
}

/** Whether a value is an object that is no array. */
export function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Whether a value has all of these methods. */
export function hasMethods(value: unknown, ...methods: readonly string[]): boolean {
  if (!isObject(value)) return false
  return methods.every(method => typeof (value as Readonly<Record<string, unknown>>)[method] === 'function')
}

/**
 * Refuses what is no array.
 *
 * @throws TypeError that names the argument
 */
export function assertArray(argument: string, value: unknown): void {
  if (!Array.isArray(value)) throw misuse(argument, 'an array', value)
}

/**
 * Refuses what is no array of objects.
 *
 * @throws TypeError that names the argument
 */
export function assertObjects(argument: string, values: unknown): void {
  if (!Array.isArray(values)) throw misuse(argument, 'an array', values)
  // Not `forEach`, which passes over holes.
  for (const [index, value] of (values as readonly unknown[]).entries()) {
    if (!isObject(value)) throw misuse(`${argument}[${index}]`, 'an object', value)
  }
}
