//! Intervals at 95 %, pure: `+ - * /`, `sqrt` and constants only, so that they are the same on every machine.

/// The 0.975 quantile of the standard normal distribution.
pub const Z: f64 = 1.959_963_984_540_054;

/// Wilson's score interval of a ratio. `None` without trials.
///
/// Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
///
/// ```
/// let (lower, upper) = touchstone::statistics::wilson(85, 100).expect("there are trials");
/// assert!((lower - 0.767).abs() < 5e-4 && (upper - 0.907).abs() < 5e-4);
/// ```
pub fn wilson(successes: i64, trials: i64) -> Option<(f64, f64)> {
    if trials <= 0 {
        return None;
    }
    let n = trials as f64;
    let p = successes as f64 / n;
    let z2 = Z * Z;
    let scale = 1.0 + z2 / n;
    let centre = (p + z2 / (2.0 * n)) / scale;
    let half = Z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).max(0.0).sqrt() / scale;
    // At the ends the exact bound is the end itself; rounding must not go past it.
    let lower = if successes == 0 { 0.0 } else { (centre - half).max(0.0) };
    let upper = if successes == trials { 1.0 } else { (centre + half).min(1.0) };
    Some((lower, upper))
}

/// The adjusted Wald interval of a net promoter score in -1..1. `None` without answers.
///
/// Source: Rocks 2016, "Interval estimation for the Net Promoter Score": three quarters are added to
/// promoters and detractors, three to the answers.
///
/// ```
/// let (lower, upper) = touchstone::statistics::net_promoter(50, 20, 100).expect("there are answers");
/// assert!((lower - 0.14).abs() < 5e-3 && (upper - 0.44).abs() < 5e-3);
/// ```
pub fn net_promoter(promoters: i64, detractors: i64, answers: i64) -> Option<(f64, f64)> {
    if answers <= 0 {
        return None;
    }
    let n = answers as f64 + 3.0;
    let p = (promoters as f64 + 0.75) / n;
    let d = (detractors as f64 + 0.75) / n;
    let score = p - d;
    let half = Z * ((p + d - score * score).max(0.0) / n).sqrt();
    Some(((score - half).max(-1.0), (score + half).min(1.0)))
}

/// Student's interval of a mean, from the moments: mean +- t(0.975, n - 1) * s / sqrt(n).
/// `variance` is the unbiased one, of the observations. `None` with fewer than two.
pub fn mean(mean: f64, variance: f64, n: i64) -> Option<(f64, f64)> {
    if n < 2 {
        return None;
    }
    let half = student(n - 1) * (variance.max(0.0) / n as f64).sqrt();
    Some((mean - half, mean + half))
}

/// The unbiased variance of integer observations from their exact moments:
/// (n * sum of squares - sum^2) / (n (n - 1)).
///
/// ```
/// use touchstone::statistics::variance;
/// assert_eq!(variance(4, 10, 30), 5.0 / 3.0); // 1 2 3 4
/// ```
pub fn variance(n: i64, sum: i64, squares: i128) -> f64 {
    if n < 2 {
        return 0.0;
    }
    let (n, sum) = (i128::from(n), i128::from(sum));
    // Exact as integers; the division comes last.
    (n * squares - sum * sum) as f64 / (n * (n - 1)) as f64
}

/// The 0.975 quantile of Student's distribution with `degrees` degrees of freedom.
///
/// Up to 29 from the table; above by the expansion in powers of 1/degrees around the normal quantile
/// (Abramowitz and Stegun 26.7.5), whose error is below 1e-7 there.
pub fn student(degrees: i64) -> f64 {
    const TABLE: [f64; 29] = [
        12.706_204_736_174_7,
        4.302_652_729_749_46,
        3.182_446_305_283_71,
        2.776_445_105_198_0,
        2.570_581_835_636_31,
        2.446_911_851_144_97,
        2.364_624_251_592_78,
        2.306_004_135_204_17,
        2.262_157_162_798_2,
        2.228_138_851_986_27,
        2.200_985_160_091_64,
        2.178_812_829_667_23,
        2.160_368_656_462_79,
        2.144_786_687_917_8,
        2.131_449_545_559_78,
        2.119_905_299_221_26,
        2.109_815_577_833_32,
        2.100_922_040_241_04,
        2.093_024_054_408_31,
        2.085_963_447_265_86,
        2.079_613_844_727_68,
        2.073_873_067_904_02,
        2.068_657_610_419_05,
        2.063_898_561_628_03,
        2.059_538_552_753_3,
        2.055_529_438_642_87,
        2.051_830_516_480_28,
        2.048_407_141_795_24,
        2.045_229_642_132_7,
    ];
    match degrees {
        ..1 => f64::INFINITY,
        1..=29 => TABLE[degrees as usize - 1],
        _ => {
            let v = degrees as f64;
            let x = Z;
            let x2 = x * x;
            let g1 = x * (x2 + 1.0) / 4.0;
            let g2 = x * (3.0 + x2 * (16.0 + x2 * 5.0)) / 96.0;
            let g3 = x * (-15.0 + x2 * (17.0 + x2 * (19.0 + x2 * 3.0))) / 384.0;
            let g4 = x * (-945.0 + x2 * (-1920.0 + x2 * (1482.0 + x2 * (776.0 + x2 * 79.0)))) / 92_160.0;
            x + (g1 + (g2 + (g3 + g4 / v) / v) / v) / v
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_against_published_examples() {
        // n = 30, 100, 1000 at 85 %: table of the sample-size section of the metric catalogue.
        let rounded = |(lower, upper): (f64, f64)| ((lower * 1000.0).round(), (upper * 1000.0).round());
        assert_eq!(rounded(wilson(85, 100).unwrap()), (767.0, 907.0));
        assert_eq!(rounded(wilson(850, 1000).unwrap()), (827.0, 871.0));
        assert_eq!(wilson(0, 10).unwrap().0, 0.0);
        assert_eq!(wilson(10, 10).unwrap().1, 1.0);
        assert_eq!(wilson(0, 0), None);
    }

    #[test]
    fn net_promoter_against_published_examples() {
        let rounded = |(lower, upper): (f64, f64)| ((lower * 100.0).round(), (upper * 100.0).round());
        assert_eq!(rounded(net_promoter(50, 20, 100).unwrap()), (14.0, 44.0));
        assert_eq!(rounded(net_promoter(500, 200, 1000).unwrap()), (25.0, 35.0));
        assert_eq!(rounded(net_promoter(15, 6, 30).unwrap()), (1.0, 54.0));
    }

    #[test]
    fn student_against_the_table() {
        // Values of the usual printed tables, 0.975.
        for (degrees, expected) in
            [(1, 12.7062), (29, 2.04523), (30, 2.04227), (60, 2.00030), (99, 1.98422), (1000, 1.96234)]
        {
            assert!((student(degrees) - expected).abs() < 1e-5, "{degrees}: {}", student(degrees));
        }
        assert!((1..5000).all(|degrees| student(degrees) > student(degrees + 1)));
    }

    #[test]
    fn variance_is_exact_where_floats_would_cancel() {
        let offset = 1_000_000_000_i64;
        let values = [offset + 1, offset + 2, offset + 3];
        let sum: i64 = values.iter().sum();
        let squares: i128 = values.iter().map(|value| i128::from(*value) * i128::from(*value)).sum();
        assert_eq!(variance(3, sum, squares), 1.0);
    }
}
