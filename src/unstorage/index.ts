/**
 * A driver for unstorage, and so for Nitro and Nuxt.
 *
 * @packageDocumentation
 */
export { createDriver } from './driver.ts'
export type { DriverItem, DriverItemOptions, DriverOptions, KilovoltDriver } from './driver.ts'
