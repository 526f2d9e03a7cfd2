import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.DefaultProfileValidationSupport;
import ca.uhn.fhir.context.support.IValidationSupport;
import ca.uhn.fhir.util.VersionUtil;
import ca.uhn.fhir.validation.FhirValidator;
import ca.uhn.fhir.validation.ResultSeverityEnum;
import ca.uhn.fhir.validation.SingleValidationMessage;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.Stream;
import org.hl7.fhir.common.hapi.validation.support.CommonCodeSystemsTerminologyService;
import org.hl7.fhir.common.hapi.validation.support.InMemoryTerminologyServerValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.NpmPackageValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.UnknownCodeSystemWarningValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.ValidationSupportChain;
import org.hl7.fhir.common.hapi.validation.validator.FhirInstanceValidator;
import org.hl7.fhir.r5.utils.validation.constants.BestPracticeWarningLevel;

/**
 * Validates FHIR R4 resources against the definitions of R4 and HL7's code systems, without a network.
 *
 * <p>Arguments: files and folders. A `.ndjson` file holds one resource per line, a `.json` file one
 * resource; a folder means all such files below it. Prints one JSON line per error, and a summary at
 * the end. Exit code 0: no error; 1: errors; 2: usage.
 */
public final class ValidateBundles {
  private static final int THREADS = 2;

  /** HL7's own code systems as they are today, on the class path: R4 holds copies from 2019. */
  private static final String TERMINOLOGY = "classpath:hl7.terminology.r4.tgz";

  /** Only says that the definitions of R5 are not loaded, which give its elements as extensions for R4. */
  private static final String EXTENSION_OF_R5 = "Extension_EXT_Version_Invalid";

  /** A warning in general, but fatal for a server that stores a transaction. */
  private static final String REFERENCE_TO_NO_ENTRY = "Bundle_BUNDLE_Not_Local";

  private record Source(String name, String json) {}

  public static void main(String[] arguments) throws Exception {
    List<Source> sources = new ArrayList<>();
    for (String argument : arguments) {
      read(Path.of(argument), sources);
    }
    if (sources.isEmpty()) {
      System.err.println("usage: validate-bundles FILE.ndjson|FILE.json|FOLDER...");
      System.exit(2);
    }

    FhirValidator validator = validator();
    ExecutorService threads = Executors.newFixedThreadPool(THREADS);
    List<Callable<List<SingleValidationMessage>>> tasks = new ArrayList<>();
    for (Source source : sources) {
      tasks.add(() -> errors(validator, source.json()));
    }
    List<Future<List<SingleValidationMessage>>> results = threads.invokeAll(tasks);
    threads.shutdown();

    ObjectMapper json = new ObjectMapper();
    int invalid = 0;
    int total = 0;
    for (int i = 0; i < results.size(); i++) {
      List<SingleValidationMessage> errors = results.get(i).get();
      invalid += errors.isEmpty() ? 0 : 1;
      total += errors.size();
      for (SingleValidationMessage error : errors) {
        Map<String, String> line = new LinkedHashMap<>();
        line.put("source", sources.get(i).name());
        line.put("place", error.getLocationString());
        line.put("kind", error.getMessageId());
        line.put("message", error.getMessage());
        System.out.println(json.writeValueAsString(line));
      }
    }
    Map<String, Object> summary = new LinkedHashMap<>();
    summary.put("validator", "HAPI FHIR " + VersionUtil.getVersion());
    summary.put("resources", sources.size());
    summary.put("valid", sources.size() - invalid);
    summary.put("invalid", invalid);
    summary.put("errors", total);
    System.out.println(json.writeValueAsString(summary));
    System.exit(invalid == 0 ? 0 : 1);
  }

  /** R4 with its own profiles and value sets, and HL7's code systems; nothing is asked of a server. */
  private static FhirValidator validator() throws IOException {
    FhirContext r4 = FhirContext.forR4();
    // What R4 does not define cannot be checked against R4: a national identifier's code system, the
    // extensions of the v2-to-FHIR guide. Those are warnings; all that R4 defines stays an error.
    NpmPackageValidationSupport terminology = new NpmPackageValidationSupport(r4);
    terminology.loadPackageFromClasspath(TERMINOLOGY);
    UnknownCodeSystemWarningValidationSupport unknownSystems = new UnknownCodeSystemWarningValidationSupport(r4);
    unknownSystems.setNonExistentCodeSystemSeverity(IValidationSupport.IssueSeverity.WARNING);
    FhirInstanceValidator instances =
        new FhirInstanceValidator(
            new ValidationSupportChain(
                terminology,
                new DefaultProfileValidationSupport(r4),
                new CommonCodeSystemsTerminologyService(r4),
                new InMemoryTerminologyServerValidationSupport(r4),
                unknownSystems));
    instances.setAnyExtensionsAllowed(true);
    instances.setErrorForUnknownProfiles(false);
    instances.setBestPracticeWarningLevel(BestPracticeWarningLevel.Ignore);
    return r4.newValidator().registerValidatorModule(instances);
  }

  private static List<SingleValidationMessage> errors(FhirValidator validator, String json) {
    return validator.validateWithResult(json).getMessages().stream()
        .filter(ValidateBundles::isError)
        .toList();
  }

  private static boolean isError(SingleValidationMessage message) {
    boolean error = message.getSeverity().ordinal() >= ResultSeverityEnum.ERROR.ordinal();
    return REFERENCE_TO_NO_ENTRY.equals(message.getMessageId())
        || error && !EXTENSION_OF_R5.equals(message.getMessageId());
  }

  private static void read(Path path, List<Source> sources) throws IOException {
    List<Path> files;
    try (Stream<Path> below = Files.walk(path)) {
      files = below.filter(Files::isRegularFile).sorted().toList();
    }
    for (Path file : files) {
      if (file.toString().endsWith(".ndjson")) {
        int number = 0;
        for (String line : Files.readAllLines(file)) {
          sources.add(new Source(file + ":" + ++number, line));
        }
      } else if (file.toString().endsWith(".json")) {
        sources.add(new Source(file.toString(), Files.readString(file)));
      }
    }
  }
}
